import { findingOf } from './zip-refused.js';
import { readZipDirectory } from './zip-directory.js';
import { readZipEnd } from './zip-end.js';
import { openZipFile } from './zip-file.js';

/** What the check of a zip costs beside the length of its file. */
export interface ZipWork {
  directoryBytes: number;
  /** As declared: no entry is inflated further. */
  unzippedBytes: number;
  /** Of empty blocks, which are slower to inflate than content. */
  surplusBytes: number;
}

/**
 * Whether the check of a zip stays within `most`. A directory that is longer is not even looked at. One
 * that is refused is no work. Throws the signal's reason; faults of the file system are INTERNAL.
 */
export async function isWorkWithin(
  most: ZipWork,
  path: string,
  signal: AbortSignal,
): Promise<boolean> {
  const zip = await openZipFile(path);
  try {
    const end = await readZipEnd(zip);
    if (end.directoryEnd - end.directoryStart > most.directoryBytes) return false;
    const { unzippedBytes, surplusBytes } = await readZipDirectory(zip, end, signal);
    return unzippedBytes <= most.unzippedBytes && surplusBytes <= most.surplusBytes;
  } catch (error) {
    if (findingOf(error) === undefined) throw error;
    return true;
  } finally {
    await zip.close();
  }
}
