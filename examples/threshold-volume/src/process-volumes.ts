import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { findVolumes, type VolumeFile } from './find-volumes.js';
import { InputError } from './input-error.js';
import { labelSlices } from './label-slices.js';
import { geometryOf, type Vector } from './nifti/geometry.js';
import { readVolume, type Volume } from './nifti/read-volume.js';
import { writeLabels } from './nifti/write-labels.js';
import { drawPreview, type PreviewSlice } from './preview.js';
import { createRegionCounter, type RegionStatistics } from './region-statistics.js';
import { readThresholdTable, type Region } from './threshold-table.js';

/** One volume as it stands in statistics.json. */
export interface VolumeStatistics {
  /** Names below the input and the output folder. */
  volume: string;
  mask: string;
  preview: string;
  size: Vector;
  spacing_mm: Vector;
  regions: RegionStatistics[];
}

/**
 * The whole model: for every volume `NAME.nii.gz` of the input a mask `NAME_mask.nii.gz` and a
 * picture `NAME_preview.png`, and one `statistics.json` for all. Throws {@link InputError} when
 * the input or the table cannot be used.
 */
export async function processVolumes({
  inputFolder,
  modelFolder,
  outputFolder,
  log,
}: {
  inputFolder: string;
  modelFolder: string;
  outputFolder: string;
  log: (line: string) => void;
}): Promise<VolumeStatistics[]> {
  const regions = await readThresholdTable(modelFolder);
  const files = await findVolumes(inputFolder);
  const volumes: VolumeStatistics[] = [];
  for (const file of files) {
    const statistics = await processVolume(file, regions, outputFolder);
    log(`${file.name}: ${statistics.size.join('×')} voxels`);
    for (const { name, voxels, volume_ml } of statistics.regions) {
      log(`  ${name}: ${voxels} voxels, ${volume_ml.toFixed(1)} ml`);
    }
    volumes.push(statistics);
  }
  const text = JSON.stringify({ volumes }, undefined, 2);
  await writeFile(join(outputFolder, 'statistics.json'), `${text}\n`);
  return volumes;
}

async function processVolume(
  file: VolumeFile,
  regions: Region[],
  outputFolder: string,
): Promise<VolumeStatistics> {
  await mkdir(join(outputFolder, dirname(file.name)), { recursive: true });
  try {
    return await readVolume(file.path, (volume) => measure(volume, file, regions, outputFolder));
  } catch (error) {
    if (error instanceof InputError) throw new InputError(`${file.name} ${error.message}.`);
    throw error;
  }
}

/** One pass over the slices: label, count, write, and keep the middle one for the picture. */
async function measure(
  { header, slices }: Volume,
  file: VolumeFile,
  regions: Region[],
  outputFolder: string,
): Promise<VolumeStatistics> {
  const geometry = geometryOf(header);
  const [width, height, depth] = header.size;
  const counters = regions.map(createRegionCounter);
  const mask = `${file.stem}_mask.nii.gz`;
  const preview = `${file.stem}_preview.png`;
  const middle: PreviewSlice = {
    values: new Float64Array(width * height),
    labels: new Uint8Array(width * height),
    width,
    height,
  };

  async function* labels() {
    for await (const slice of labelSlices(slices, { regions, counters, width })) {
      if (slice.k === Math.floor(depth / 2)) {
        middle.values.set(slice.values);
        middle.labels.set(slice.labels);
      }
      yield slice.labels;
    }
  }
  await writeLabels(join(outputFolder, mask), header, labels());
  await writeFile(join(outputFolder, preview), drawPreview(middle, geometry));
  return {
    volume: file.name,
    mask,
    preview,
    size: header.size,
    spacing_mm: geometry.spacingMm,
    regions: counters.map((counter) => counter.result(geometry)),
  };
}
