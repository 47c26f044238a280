import type { RegionCounter } from './region-statistics.js';
import type { Region } from './threshold-table.js';

export interface LabelledSlice {
  k: number;
  /** Overwritten by the next slice. */
  values: Float64Array;
  labels: Uint8Array;
}

/**
 * Gives every voxel the label of its region, 0 where no region claims it, and counts it there.
 * Values that are not finite belong to no region.
 */
export async function* labelSlices(
  slices: AsyncIterable<Float64Array>,
  { regions, counters, width }: { regions: Region[]; counters: RegionCounter[]; width: number },
): AsyncGenerator<LabelledSlice> {
  let k = 0;
  for await (const values of slices) {
    // A new array each time: the mask's writer may still hold the last one.
    const labels = new Uint8Array(values.length);
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at] as number;
      const region = regionOf(regions, value);
      if (region === undefined) continue;
      labels[at] = region.label;
      counters[region.label - 1]?.add(value, at % width, Math.floor(at / width), k);
    }
    yield { k, values, labels };
    k += 1;
  }
}

function regionOf(regions: Region[], value: number): Region | undefined {
  if (!Number.isFinite(value)) return undefined;
  for (const region of regions) {
    if (value >= region.lowerHu && value < region.upperHu) return region;
  }
  return undefined;
}
