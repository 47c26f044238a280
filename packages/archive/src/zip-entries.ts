import { crc32 } from 'node:zlib';
import type { Entry } from 'yauzl';
import { decodeName } from './decode-name.js';
import { isExecutable, modeProblem } from './entry-kind.js';
import { nameProblem } from './entry-name.js';
import { createEntryTree } from './entry-tree.js';
import { zipError, type OpenZip } from './open-zip.js';
import { ratioFreeBytes, type ZipLimits } from './zip-limits.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/** An entry that has passed every rule on names, kinds and declared sizes. */
export interface ZipEntry {
  /** The folders to make before the file: those that no earlier entry has named or implied. */
  newFolders: readonly string[];
  /** Undefined for a folder. */
  file: { path: string; bytes: number; executable: boolean } | undefined;
  modified: Date;
  /**
   * The file's bytes, inflated. Ends with ZIP_REFUSED unless they have the declared size and
   * checksum; never gives more than the declared size.
   */
  content(): AsyncIterable<Buffer>;
}

/**
 * The entries in the order of the zip's directory, each checked against the rules and all before it.
 * The gate and the extraction both read through here. Throws ZIP_REFUSED.
 */
export async function* readZipEntries(
  zip: OpenZip,
  limits: ZipLimits,
  signal: AbortSignal,
): AsyncGenerator<ZipEntry> {
  if (zip.entryCount > limits.maxEntries) {
    throw refuseZip('too_many_entries', { allowed: limits.maxEntries });
  }
  const tree = createEntryTree({ maxFolders: limits.maxEntries });
  let number = 0;
  let unzippedBytes = 0;
  try {
    for await (const entry of zip.entries()) {
      signal.throwIfAborted();
      number += 1;
      unzippedBytes += entry.uncompressedSize;
      checkTotal(unzippedBytes, zip.bytes, limits);
      const { path, kind } = checkEntry(entry, number);
      const answer = tree.add(path, kind);
      if ('refused' in answer) throw refuseZip(answer.refused, { entry: number });
      yield {
        newFolders: answer.newFolders,
        file:
          kind === 'file'
            ? { path, bytes: entry.uncompressedSize, executable: isExecutable(entry) }
            : undefined,
        modified: entry.getLastModDate({ timezone: 'UTC' }),
        content: () => checkContent(zip, entry, number),
      };
    }
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    throw zipError(error, number + 1);
  }
}

function checkTotal(unzippedBytes: number, zipBytes: number, limits: ZipLimits): void {
  if (unzippedBytes > limits.maxUnzippedBytes) {
    throw refuseZip('too_large', { allowed: limits.maxUnzippedBytes });
  }
  if (unzippedBytes > ratioFreeBytes && unzippedBytes > zipBytes * limits.maxRatio) {
    throw refuseZip('ratio', { allowed: limits.maxRatio });
  }
}

function checkEntry(entry: Entry, number: number): { path: string; kind: 'file' | 'folder' } {
  const refuse = (reason: ZipRefusal) => refuseZip(reason, { entry: number });
  if ((entry.generalPurposeBitFlag & encryptionFlags) !== 0) throw refuse('encrypted');
  if (entry.compressionMethod !== stored && entry.compressionMethod !== deflated) {
    throw refuse('unknown_method');
  }
  const decoded = decodeName(entry);
  if ('refused' in decoded) throw refuse(decoded.refused);
  const kind = decoded.name.endsWith('/') ? 'folder' : 'file';
  const path = kind === 'folder' ? decoded.name.slice(0, -1) : decoded.name;
  const problem = nameProblem(path) ?? modeProblem(entry, kind);
  if (problem !== undefined) throw refuse(problem);
  if (kind === 'folder' && entry.uncompressedSize > 0) throw refuse('folder_with_content');
  if (entry.compressionMethod === stored && entry.compressedSize !== entry.uncompressedSize) {
    throw refuse('size_mismatch');
  }
  return { path, kind };
}

/** Bit 0: the content; bit 6: strongly; bit 13: the directory itself is masked. */
const encryptionFlags = 0x1 | 0x40 | 0x2000;
const stored = 0;
const deflated = 8;

async function* checkContent(zip: OpenZip, entry: Entry, number: number): AsyncGenerator<Buffer> {
  let checksum = 0;
  let bytes = 0;
  try {
    for await (const chunk of zip.content(entry)) {
      bytes += chunk.length;
      if (bytes > entry.uncompressedSize) throw refuseZip('size_mismatch', { entry: number });
      checksum = crc32(chunk, checksum);
      yield chunk;
    }
  } catch (error) {
    throw zipError(error, number);
  }
  if (bytes !== entry.uncompressedSize) throw refuseZip('size_mismatch', { entry: number });
  if (checksum !== entry.crc32) throw refuseZip('crc_mismatch', { entry: number });
}
