import { describe, expect, it } from 'vitest';
import { fuzzZip } from '../../../tests/fuzz/zip-target.js';

describe('the gate and any bytes for a zip', () => {
  it.each([1, 2, 3])('agree with the extractor on each (seed %s)', async (seed) => {
    const { accepted } = await fuzzZip({ cases: 1000, seed });
    // Neither are all refused nor all taken: both ways were gone.
    expect(accepted).toBeGreaterThan(150);
    expect(accepted).toBeLessThan(850);
  });
});
