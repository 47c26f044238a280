import { readZipEntries } from './zip-entries.js';
import { openZipFile } from './zip-file.js';
import type { ZipLimits } from './zip-limits.js';
import { findingOf, refuseZip, type ZipFinding } from './zip-refused.js';

export interface ZipRules extends ZipLimits {
  /** Whether a zip without a single file is refused; false when absent. */
  requireFile?: boolean;
  /** A file that is handed over with the summary, unless it has more bytes. */
  take?: { path: string; maxBytes: number };
}

export interface ZipSummary {
  files: number;
  /** Stated or implied. */
  folders: number;
  unzippedBytes: number;
  /** The file that was to be taken; absent: there is none. */
  taken?: Uint8Array | 'too_large';
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
    const summary: ZipSummary = { files: 0, folders: 0, unzippedBytes: 0 };
    for await (const { newFolders, file, content } of readZipEntries(zip, rules, signal)) {
      const isTaken = file !== undefined && file.path === rules.take?.path;
      const kept =
        isTaken && file.bytes <= (rules.take?.maxBytes ?? 0) ? ([] as Uint8Array[]) : undefined;
      for await (const chunk of content()) {
        signal.throwIfAborted();
        summary.unzippedBytes += chunk.length;
        // A copy: what reads the zip writes over its chunks.
        kept?.push(Uint8Array.from(chunk));
      }
      if (isTaken) summary.taken = kept === undefined ? 'too_large' : Buffer.concat(kept);
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
