import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { InputError } from './input-error.js';

export interface VolumeFile {
  path: string;
  /** Below the input folder. */
  name: string;
  /** The name without .nii or .nii.gz: what the results are named after. */
  stem: string;
}

/**
 * Every `.nii` and `.nii.gz` under a folder, by name. Hidden files are passed over: zips packed on
 * a Mac bring one beside each volume. Throws {@link InputError} when there is nothing to do or when
 * two volumes would write the same results.
 */
export async function findVolumes(inputFolder: string): Promise<VolumeFile[]> {
  const entries = await readdir(inputFolder, { recursive: true, withFileTypes: true });
  const volumes = entries
    .filter((entry) => entry.isFile() && /^[^.].*\.nii(\.gz)?$/i.test(entry.name))
    .map((entry) => volumeFile(inputFolder, join(entry.parentPath, entry.name)))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (volumes.length === 0) {
    throw new InputError('The input holds no volume: no file ends in .nii or .nii.gz.');
  }
  for (const [index, { name, stem }] of volumes.entries()) {
    const twin = volumes.slice(0, index).find((other) => other.stem === stem);
    if (twin !== undefined) {
      throw new InputError(`${twin.name} and ${name} would write the same results; rename one.`);
    }
  }
  return volumes;
}

function volumeFile(inputFolder: string, path: string): VolumeFile {
  const name = relative(inputFolder, path);
  return { path, name, stem: name.replace(/\.nii(\.gz)?$/i, '') };
}
