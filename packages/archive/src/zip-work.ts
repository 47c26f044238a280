import { findingOf } from './zip-refused.js';
import { readZipDirectory } from './zip-directory.js';
import { readZipEnd } from './zip-end.js';
import { openZipFile } from './zip-file.js';

/** What tells how much the check of a zip costs, beside the length of its file. */
export interface ZipWork {
  directoryBytes: number;
  /** As declared: no entry is inflated further. */
  unzippedBytes: number;
  /** What it then really takes (ms): inflating can be made slow without much content. */
  ms: number;
}

/**
 * Whether the check of a zip may stay within `most`, as far as can be told before. A directory that is longer is not even looked at. One
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
    const { unzippedBytes } = await readZipDirectory(zip, end, signal);
    return unzippedBytes <= most.unzippedBytes;
  } catch (error) {
    if (findingOf(error) === undefined) throw error;
    return true;
  } finally {
    await zip.close();
  }
}
