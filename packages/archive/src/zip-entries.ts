import { decodeName, otherReadings } from './decode-name.js';
import { attributeProblem, isExecutable, modeProblem } from './entry-kind.js';
import { nameProblem } from './entry-name.js';
import { createEntryTree } from './entry-tree.js';
import { readLocalHeader } from './local-header.js';
import { modifiedTime } from './modified-time.js';
import { readContent } from './zip-content.js';
import { readZipDirectory, type DirectoryRecord } from './zip-directory.js';
import { readZipEnd } from './zip-end.js';
import type { ZipFile } from './zip-file.js';
import { ratioFreeBytes, type ZipLimits } from './zip-limits.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/** An entry that has passed every rule on names, kinds, places and declared sizes. */
export interface ZipEntry {
  /** The folders to make before the file: those that no earlier entry has named or implied. */
  newFolders: readonly string[];
  /** Undefined for a folder. */
  file: { path: string; bytes: number; executable: boolean } | undefined;
  modified: Date;
  /** The entry's bytes, checked as they pass: see {@link readContent}. */
  content(): AsyncIterable<Buffer>;
}

/**
 * The entries in the order of the zip's directory, each checked against the rules and all before it.
 * The gate and the extraction both read through here. Throws ZIP_REFUSED, or the signal's reason.
 */
export async function* readZipEntries(
  file: ZipFile,
  limits: ZipLimits,
  signal: AbortSignal,
): AsyncGenerator<ZipEntry> {
  const end = await readZipEnd(file);
  if (end.entries > limits.maxEntries) {
    throw refuseZip({ reason: 'too_many_entries', allowed: limits.maxEntries });
  }
  const directory = await readZipDirectory(file, end);
  const tree = createEntryTree({ maxFolders: limits.maxEntries });
  // Three readings of each at most: only names that were made for it go beyond.
  const otherNames = directory.hasOtherReadings
    ? createEntryTree({ maxFolders: 4 * limits.maxEntries })
    : undefined;
  let unzippedBytes = 0;
  for await (const record of directory.records()) {
    signal.throwIfAborted();
    unzippedBytes += record.bytes;
    checkTotal(unzippedBytes, file.bytes, limits);
    const { path, kind } = checkRecord(record);
    const { number, headerOffset } = record;
    const answer = tree.add(path, kind);
    if ('refused' in answer) throw refuseEntry(answer.refused, record);
    // No other reader may write two entries to one place: which of them would it leave there?
    if (otherNames !== undefined) {
      for (const name of new Set([path, ...otherReadings(record).map(withoutSlash)])) {
        const taken = otherNames.add(name, kind);
        if ('refused' in taken) throw refuseEntry(taken.refused, record);
      }
    }
    const packed = await readLocalHeader(file, record, directory.nextStart(headerOffset, number));
    yield {
      newFolders: answer.newFolders,
      file:
        kind === 'file'
          ? { path, bytes: record.bytes, executable: isExecutable(record.mode) }
          : undefined,
      modified: modifiedTime(record),
      content: () => readContent(file, record, packed),
    };
  }
}

function withoutSlash(name: string): string {
  return name.endsWith('/') ? name.slice(0, -1) : name;
}

function checkTotal(unzippedBytes: number, zipBytes: number, limits: ZipLimits): void {
  if (unzippedBytes > limits.maxUnzippedBytes) {
    throw refuseZip({ reason: 'too_large', allowed: limits.maxUnzippedBytes });
  }
  if (unzippedBytes > ratioFreeBytes && unzippedBytes > zipBytes * limits.maxRatio) {
    throw refuseZip({ reason: 'ratio', allowed: limits.maxRatio });
  }
}

function checkRecord(record: DirectoryRecord): { path: string; kind: 'file' | 'folder' } {
  const refuse = (reason: ZipRefusal) => refuseEntry(reason, record);
  const { flags, method, bytes, packedBytes } = record;
  if ((flags & encryptionFlags) !== 0) throw refuse('encrypted');
  if ((method !== stored && method !== deflated) || (flags & patchFlag) !== 0) {
    throw refuse('unknown_method');
  }
  if ((record.version & 0xff) > latestVersion) throw refuse('unknown_version');
  const decoded = decodeName(record);
  if ('refused' in decoded) throw refuse(decoded.refused);
  const kind = decoded.name.endsWith('/') ? 'folder' : 'file';
  const path = withoutSlash(decoded.name);
  const problem =
    nameProblem(path) ??
    modeProblem(record.mode, kind) ??
    attributeProblem(record.attributes, kind);
  if (problem !== undefined) throw refuse(problem);
  if (kind === 'folder' && bytes > 0) throw refuse('folder_with_content');
  if (method === stored && packedBytes !== bytes) throw refuse('size_mismatch');
  return { path, kind };
}

/** Bit 0: the content; bit 6: strongly; bit 13: the directory itself is masked. */
const encryptionFlags = 0x1 | 0x40 | 0x2000;
/** Bit 5: the content is a patch of another file. */
const patchFlag = 0x20;
const stored = 0;
const deflated = 8;
/** 6.3, of which all later ones of the specification are said to need no more. */
const latestVersion = 63;

function refuseEntry(reason: ZipRefusal, { number, offset }: DirectoryRecord): Error {
  return refuseZip({ reason, entry: number, offset });
}
