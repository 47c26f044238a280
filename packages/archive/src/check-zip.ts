import { openZip } from './open-zip.js';
import { readZipEntries } from './zip-entries.js';
import type { ZipLimits } from './zip-limits.js';
import { refuseZip } from './zip-refused.js';

export interface ZipRules extends ZipLimits {
  /** Whether a zip without a single file is refused; false when absent. */
  requireFile?: boolean;
}

export interface ZipSummary {
  files: number;
  /** Stated or implied. */
  folders: number;
  /** As the entries declare it. */
  unzippedBytes: number;
}

/**
 * Holds an untrusted zip against the rules on structure, names, kinds and declared sizes, without
 * inflating anything. Throws ZIP_REFUSED, with the broken rule as `extensions.reason`, or the
 * signal's reason.
 */
export async function checkZip(
  path: string,
  rules: ZipRules,
  signal: AbortSignal,
): Promise<ZipSummary> {
  signal.throwIfAborted();
  const zip = await openZip(path);
  try {
    const summary = { files: 0, folders: 0, unzippedBytes: 0 };
    for await (const { newFolders, file } of readZipEntries(zip, rules, signal)) {
      summary.folders += newFolders.length;
      if (file === undefined) continue;
      summary.files += 1;
      summary.unzippedBytes += file.bytes;
    }
    if (rules.requireFile === true && summary.files === 0) throw refuseZip('no_file');
    return summary;
  } finally {
    await zip.close();
  }
}
