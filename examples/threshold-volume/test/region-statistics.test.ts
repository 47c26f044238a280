import { describe, expect, it } from 'vitest';
import type { Geometry } from '../src/nifti/geometry.js';
import { createRegionCounter } from '../src/region-statistics.js';

const region = { label: 3, name: 'lung', lowerHu: -950, upperHu: Infinity };
const geometry: Geometry = {
  spacingMm: [2, 3, 5],
  affine: [
    [-2, 0, 0, 100],
    [0, -3, 0, 50],
    [0, 0, 5, -20],
  ],
};

describe('the statistics of a region', () => {
  it('are those worked out by hand', () => {
    const counter = createRegionCounter(region);
    counter.add(-900, 1, 2, 3);
    counter.add(-800, 3, 2, 3);
    counter.add(-700, 2, 5, 3);
    counter.add(-800, 2, 7, 7);
    expect(counter.result(geometry)).toEqual({
      label: 3,
      name: 'lung',
      lower_hu: -950,
      upper_hu: null,
      voxels: 4,
      volume_ml: (4 * 30) / 1000,
      mean_hu: -800,
      std_hu: Math.sqrt((100 ** 2 + 100 ** 2) / 4),
      min_hu: -900,
      max_hu: -700,
      bounding_box: { min: [1, 2, 3], max: [3, 7, 7] },
      // The mean index is (2, 4, 4).
      centroid_mm: [100 - 4, 50 - 12, -20 + 20],
    });
  });

  it('of one voxel have no spread', () => {
    const counter = createRegionCounter(region);
    counter.add(12.5, 0, 0, 0);
    expect(counter.result(geometry)).toMatchObject({ mean_hu: 12.5, std_hu: 0, voxels: 1 });
  });

  it('of no voxel are null where there is nothing to tell', () => {
    expect(createRegionCounter(region).result(geometry)).toMatchObject({
      voxels: 0,
      volume_ml: 0,
      mean_hu: null,
      std_hu: null,
      min_hu: null,
      max_hu: null,
      bounding_box: null,
      centroid_mm: null,
    });
  });

  it('keep a small spread on a large offset', () => {
    const counter = createRegionCounter(region);
    for (let n = 0; n < 100_000; n += 1) counter.add(1e9 + (n % 2), 0, 0, 0);
    const { mean_hu, std_hu } = counter.result(geometry);
    expect(mean_hu).toBeCloseTo(1e9 + 0.5, 4);
    expect(std_hu).toBeCloseTo(0.5, 6);
  });
});
