import { describe, expect, it } from 'vitest';
import { fuzzTar } from '../../../tests/fuzz/tar-target.js';

describe('tarToZip and any bytes for a tar', () => {
  it.each([1, 2, 3])('makes a sound zip or an AppError of each (seed %s)', async (seed) => {
    const { accepted } = await fuzzTar({ cases: 400, seed });
    // Neither are all refused nor all taken: both ways were gone.
    expect(accepted).toBeGreaterThan(40);
    expect(accepted).toBeLessThan(360);
  });
});
