import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import {
  modelFolder,
  pythonClient,
  startModel,
  typescriptClient,
} from '../../runtime-server/test/running-model.js';
import { contract, sampleImage } from '../demo.mjs';
import { readPng } from '../src/png.js';

describe('a PNG', () => {
  it.each([
    ['grey', 0, 1],
    ['red', 2, 3],
    ['grey and alpha', 4, 2],
    ['red and alpha', 6, 4],
  ] as const)('is read as another writer wrote it: %s', (_, colorType, channels) => {
    const image = new PNG({ width: 7, height: 5 });
    image.data.forEach((_byte, at) => (image.data[at] = (at * at * 31 + 7 * at) % 256));
    const grey = colorType === 0 || colorType === 4;
    if (grey)
      image.data.forEach((_byte, at) => (image.data[at] = at % 4 === 3 ? at : 4 * (at >> 2)));
    for (const filterType of [0, 1, 2, 3, 4]) {
      const options = { colorType, inputColorType: 6 as const, filterType, inputHasAlpha: true };
      const bytes = PNG.sync.write(image, options);
      const read = readPng(bytes);
      expect(read).toMatchObject({ width: 7, height: 5, highest: 255 });
      expect(read.channels).toHaveLength(channels);
      // What the other reader sees in it, in red, green, blue and alpha.
      const seen = PNG.sync.read(bytes).data;
      read.channels.forEach((name, channel) => {
        const place = ['red', 'green', 'blue', 'alpha'].indexOf(name === 'grey' ? 'red' : name);
        for (let pixel = 0; pixel < 35; pixel += 1) {
          expect(read.samples[pixel * channels + channel]).toBe(seen[pixel * 4 + place]);
        }
      });
    }
  });

  const sample = sampleImage();
  it.each([
    ['no PNG', Buffer.from('GIF89a'), 'it is no PNG'],
    ['cut short', sample.subarray(0, 60), 'cut short'],
    ['damaged pixels', Buffer.from(sample).fill(0, 45, 60), 'its pixels are damaged'],
    ['interlaced', Buffer.from(sample).fill(1, 28, 29), 'only 8 and 16 bits'],
    ['too large', Buffer.from(sample).fill(0x7f, 16, 24), 'too large'],
  ])('is refused with the reason: %s', (_, bytes, reason) => {
    expect(() => readPng(bytes)).toThrow(reason);
  });
});

describe('the container’s program of image-stats', () => {
  it('answers its clients in TypeScript and Python', async () => {
    const address = await startModel('image-stats', await modelFolder(contract));
    const path = join(await testFolder(), 'ramp.png');
    await writeFile(path, sampleImage());
    expect(JSON.parse(await typescriptClient('image-stats', [address, path]))).toEqual({
      width: 64,
      height: 32,
      channels: ['red', 'green', 'blue'],
      mean: [126, 124, 129],
      deviation: [expect.closeTo(73.89, 1), expect.closeTo(73.86, 1), expect.closeTo(73.89, 1)],
      minimum: [0, 0, 3],
      maximum: [252, 248, 255],
    });
    const printed = await pythonClient('image-stats', [address, path]);
    expect(printed.split('\n').slice(0, 2)).toEqual(['64 32', 'red 126.0 73.892 0 252']);
    await writeFile(path, 'no image');
    await expect(pythonClient('image-stats', [address, path])).rejects.toThrow('it is no PNG');
  });
});
