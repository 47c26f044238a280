import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { zipToTar } from '@inference-server/archive';
import { testFolder } from '@inference-server/testing';
import { readOptions } from '../src/options.js';
import { median, quantile } from '../src/statistics.js';
import { writeDeflatedZip, writeStoredZip } from '../src/large-zip.js';

describe('what the benchmarks measure with', () => {
  it('takes quantiles between neighbours, whatever the order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([10, 0, 20, 30], 0.9)).toBeCloseTo(27);
    expect(median([])).toBeNaN();
  });

  it('posts zips that the gate lets through, with all of their content', async () => {
    const path = join(await testFolder(), 'input.zip');
    const bytes = 3 * 1024 ** 2 + 1;
    const signal = AbortSignal.timeout(30_000);
    await writeStoredZip(path, { bytes, signal });
    // Names, sizes and checksums are held against the content on the way.
    const tar = await buffer(zipToTar(path, { signal }));
    expect(tar.length).toBeGreaterThan(bytes);
    await writeDeflatedZip(path, { bytes, signal });
    expect((await stat(path)).size).toBeGreaterThan(bytes);
    const twice = await buffer(zipToTar(path, { signal }));
    expect(twice.length).toBeGreaterThan(1.5 * bytes);
  });

  it('refuses arguments that it does not know', () => {
    expect(readOptions([])).toMatchObject({
      only: ['lifecycle', 'transfer', 'polls', 'gate', 'predict', 'doors'],
      keep: false,
    });
    expect(readOptions(['--only', 'polls', '--quick', '--keep'])).toMatchObject({
      only: ['polls'],
      quick: true,
      keep: true,
    });
    expect(readOptions(['--only', 'everything'])).toBeUndefined();
    expect(readOptions(['--fast'])).toBeUndefined();
  });
});
