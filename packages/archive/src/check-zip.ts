import { readZipEntries } from './zip-entries.js';
import { openZipFile } from './zip-file.js';
import type { ZipLimits } from './zip-limits.js';
import { findingOf, refuseZip, type ZipFinding } from './zip-refused.js';

export interface ZipRules extends ZipLimits {
  /** Whether a zip without a single file is refused; false when absent. */
  requireFile?: boolean;
}

export interface ZipSummary {
  files: number;
  /** Stated or implied. */
  folders: number;
  unzippedBytes: number;
}

/** What the gate says of a zip: what it holds, or the first thing that is wrong with it. */
export type ZipVerdict = { summary: ZipSummary } | { finding: ZipFinding };

/**
 * Holds an untrusted zip against all rules, reading it once: every entry is inflated and its checksum
 * taken. Memory does not grow with the zip but by some bytes an entry. Faults of the file system are
 * INTERNAL; an abort throws the signal's reason.
 */
export async function checkZip(
  path: string,
  rules: ZipRules,
  signal: AbortSignal,
): Promise<ZipVerdict> {
  signal.throwIfAborted();
  const zip = await openZipFile(path);
  try {
    const summary = { files: 0, folders: 0, unzippedBytes: 0 };
    for await (const { newFolders, file, content } of readZipEntries(zip, rules, signal)) {
      for await (const chunk of content()) {
        signal.throwIfAborted();
        summary.unzippedBytes += chunk.length;
      }
      summary.folders += newFolders.length;
      if (file !== undefined) summary.files += 1;
    }
    if (rules.requireFile === true && summary.files === 0) throw refuseZip({ reason: 'no_file' });
    return { summary };
  } catch (error) {
    const finding = findingOf(error);
    if (finding === undefined) throw error;
    return { finding };
  } finally {
    await zip.close();
  }
}
