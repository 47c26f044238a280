import { worldPosition, type Geometry, type Vector } from './nifti/geometry.js';
import type { Region } from './threshold-table.js';

/** One region of one volume as it stands in statistics.json. */
export interface RegionStatistics {
  label: number;
  name: string;
  /** null: no bound. */
  lower_hu: number | null;
  upper_hu: number | null;
  voxels: number;
  volume_ml: number;
  /** The values of an empty region, its box and its centroid are null. */
  mean_hu: number | null;
  /** Of the whole population: the squares are divided by the number of voxels. */
  std_hu: number | null;
  min_hu: number | null;
  max_hu: number | null;
  /** Indices (i, j, k) of the first and the last voxel, both inside. */
  bounding_box: { min: Vector; max: Vector } | null;
  /** World position; the axes point right, anterior and superior. */
  centroid_mm: Vector | null;
}

/** Gathers the voxels of one region in one pass, in any order. */
export interface RegionCounter {
  add(value: number, i: number, j: number, k: number): void;
  result(geometry: Geometry): RegionStatistics;
}

export function createRegionCounter(region: Region): RegionCounter {
  let voxels = 0;
  // Welford's running mean and squared deviations: no large sums that would cancel.
  let mean = 0;
  let squares = 0;
  let minHu = Infinity;
  let maxHu = -Infinity;
  const first: Vector = [Infinity, Infinity, Infinity];
  const last: Vector = [-Infinity, -Infinity, -Infinity];
  const indexSums: Vector = [0, 0, 0];

  return {
    add(value, i, j, k) {
      voxels += 1;
      const off = value - mean;
      mean += off / voxels;
      squares += off * (value - mean);
      if (value < minHu) minHu = value;
      if (value > maxHu) maxHu = value;
      stretch(first, last, 0, i);
      stretch(first, last, 1, j);
      stretch(first, last, 2, k);
      indexSums[0] += i;
      indexSums[1] += j;
      indexSums[2] += k;
    },
    result(geometry) {
      const [si, sj, sk] = geometry.spacingMm;
      const [i, j, k] = indexSums;
      const empty = voxels === 0;
      return {
        label: region.label,
        name: region.name,
        lower_hu: Number.isFinite(region.lowerHu) ? region.lowerHu : null,
        upper_hu: Number.isFinite(region.upperHu) ? region.upperHu : null,
        voxels,
        volume_ml: (voxels * si * sj * sk) / 1000,
        mean_hu: empty ? null : mean,
        std_hu: empty ? null : Math.sqrt(squares / voxels),
        min_hu: empty ? null : minHu,
        max_hu: empty ? null : maxHu,
        bounding_box: empty ? null : { min: first, max: last },
        centroid_mm: empty ? null : worldPosition(geometry, [i / voxels, j / voxels, k / voxels]),
      };
    },
  };
}

function stretch(first: Vector, last: Vector, axis: 0 | 1 | 2, index: number): void {
  if (index < first[axis]) first[axis] = index;
  if (index > last[axis]) last[axis] = index;
}
