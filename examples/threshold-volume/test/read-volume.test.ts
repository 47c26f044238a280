import { gzipSync } from 'node:zlib';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { datatypes, type Datatype } from '../src/nifti/header.js';
import { readVolume } from '../src/nifti/read-volume.js';
import { modelFolders } from './model-folders.js';
import { niftiFile } from './nifti-file.js';

/** The extremes of each type, and values between. */
const samples: Record<Datatype, number[]> = {
  uint8: [0, 1, 127, 128, 254, 255],
  int8: [-128, -1, 0, 1, 2, 127],
  int16: [-32768, -1024, -1, 0, 1, 32767],
  uint16: [0, 1, 255, 256, 32768, 65535],
  int32: [-2147483648, -65537, -1, 0, 65536, 2147483647],
  uint32: [0, 1, 65536, 2147483647, 2147483648, 4294967295],
  float32: [-1024.5, -0.25, 0, 1e-3, 3071.75, 1e30].map(Math.fround),
  float64: [-1024.1, -1e-300, 0, 0.1, 3071.7, 1e300],
};

describe('the values of a volume', () => {
  const kinds = (Object.keys(datatypes) as Datatype[]).flatMap((datatype) =>
    [true, false].flatMap((littleEndian) =>
      [true, false].map((zipped) => ({ datatype, littleEndian, zipped })),
    ),
  );
  it.each(kinds)('$datatype, little-endian $littleEndian, gzip $zipped', async (kind) => {
    const values = samples[kind.datatype];
    const file = niftiFile({ size: [3, 1, 2], values, ...kind });
    expect(await valuesOf(kind.zipped ? gzipSync(file) : file)).toEqual(values);
  });

  it('are scaled by slope and intercept', async () => {
    const file = niftiFile({ size: [3, 1, 1], values: [0, 1, 4], slope: 0.5, intercept: -1024 });
    expect(await valuesOf(file)).toEqual([-1024, -1023.5, -1022]);
  });

  it('start behind an extension', async () => {
    const extension = Buffer.alloc(100_000, 0xff);
    const file = niftiFile({ size: [2, 1, 1], values: [17, 18], extension });
    expect(await valuesOf(file)).toEqual([17, 18]);
  });

  it('span many chunks of the file', async () => {
    const values = Array.from({ length: 60 * 50 * 40 }, (_, n) => (n * 7919) % 30011);
    const file = niftiFile({ size: [60, 50, 40], values });
    expect(await valuesOf(file)).toEqual(values);
  });

  it('may have more behind them', async () => {
    const file = niftiFile({ size: [2, 1, 1], values: [5, 6] });
    expect(await valuesOf(Buffer.concat([file, Buffer.alloc(1_000_000)]))).toEqual([5, 6]);
  });
});

describe('a broken file', () => {
  const whole = niftiFile({ size: [20, 20, 20], values: new Array<number>(8000).fill(3) });

  it.each([0, 1, 2, 347, 348, 351, 352, 353, whole.length - 1])(
    'is refused when it ends after %i bytes',
    async (bytes) => {
      await expect(valuesOf(whole.subarray(0, bytes))).rejects.toThrow(/is truncated/);
    },
  );

  it('is refused when its gzip data end early', async () => {
    const zipped = gzipSync(whole);
    for (const bytes of [2, 20, Math.floor(zipped.length / 2), zipped.length - 1]) {
      await expect(valuesOf(zipped.subarray(0, bytes))).rejects.toThrow(/is truncated/);
    }
  });

  it('is refused when its gzip checksum is wrong', async () => {
    const zipped = gzipSync(whole);
    zipped.writeUInt32LE(0x12345678, zipped.length - 8);
    await expect(valuesOf(zipped)).rejects.toThrow(/is damaged/);
  });

  it('is refused when it is no volume at all', async () => {
    await expect(valuesOf(Buffer.alloc(4096, 'x'))).rejects.toThrow(/is not a NIfTI-1 file/);
  });
});

async function valuesOf(file: Buffer): Promise<number[]> {
  const { inputFolder } = await modelFolders({ 'a.nii': file }, {});
  return readVolume(join(inputFolder, 'a.nii'), async ({ slices }) => {
    const values: number[] = [];
    for await (const slice of slices) values.push(...slice);
    return values;
  });
}
