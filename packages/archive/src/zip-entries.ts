import { attributeProblem, isExecutable, modeProblem } from './entry-kind.js';
import { createEntryTree } from './entry-tree.js';
import { asiModeOf } from './extra-fields.js';
import { readLocalHeader } from './local-header.js';
import { modifiedTime } from './modified-time.js';
import { readName, type EntryName } from './name-readings.js';
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
  // Before anything is sized by the count.
  if (end.entries > limits.maxEntries) {
    throw refuseZip({ reason: 'too_many_entries', allowed: limits.maxEntries });
  }
  const directory = await readZipDirectory(file, end, signal);
  checkTotal(directory.unzippedBytes, file.bytes, limits);
  const tree = createEntryTree({ maxFolders: limits.maxEntries });
  for await (const record of directory.records()) {
    const name = checkRecord(record);
    const { path, kind } = name;
    const { number, headerOffset } = record;
    // No reader may write two entries to one place: which of them would it leave there?
    const answer = tree.add(path, kind, name);
    if ('refused' in answer) throw refuseEntry(answer.refused, record);
    const packed = await readLocalHeader(file, record, directory.nextStart(headerOffset, number));
    yield {
      newFolders: answer.newFolders,
      file:
        kind === 'file'
          ? { path, bytes: record.bytes, executable: isExecutable(record.mode) }
          : undefined,
      modified: modifiedTime(record),
      content: () => readContent(file, record, packed, signal),
    };
  }
}

function checkTotal(unzippedBytes: number, zipBytes: number, limits: ZipLimits): void {
  if (unzippedBytes > limits.maxUnzippedBytes) {
    throw refuseZip({ reason: 'too_large', allowed: limits.maxUnzippedBytes });
  }
  if (unzippedBytes > ratioFreeBytes && unzippedBytes > zipBytes * limits.maxRatio) {
    throw refuseZip({ reason: 'ratio', allowed: limits.maxRatio });
  }
}

function checkRecord(record: DirectoryRecord): EntryName {
  const refuse = (reason: ZipRefusal) => refuseEntry(reason, record);
  const { flags, method, bytes, packedBytes } = record;
  if ((flags & encryptionFlags) !== 0) throw refuse('encrypted');
  if ((method !== stored && method !== deflated) || (flags & patchFlag) !== 0) {
    throw refuse('unknown_method');
  }
  const { version } = record;
  if ((version & 0xff) > latestVersion || version >> 8 === vms) throw refuse('unknown_version');
  const name = readName(record);
  if ('refused' in name) throw refuse(name.refused);
  const { kind } = name;
  const problem =
    modeProblem(record.mode, kind) ??
    modeProblem(asiModeOf(record.extra), kind) ??
    attributeProblem(record.attributes, kind);
  if (problem !== undefined) throw refuse(problem);
  if (kind === 'folder' && bytes > 0) throw refuse('folder_with_content');
  if (method === stored && packedBytes !== bytes) throw refuse('size_mismatch');
  return name;
}

/** Bit 0: the content; bit 6: strongly; bit 13: the directory itself is masked. */
const encryptionFlags = 0x1 | 0x40 | 0x2000;
/** Bit 5: the content is a patch of another file. */
const patchFlag = 0x20;
const stored = 0;
const deflated = 8;
/** 6.3, of which all later ones of the specification are said to need no more. */
const latestVersion = 63;
/** In the upper byte: what only VMS is to extract unzip leaves out, or asks about. */
const vms = 2;

function refuseEntry(reason: ZipRefusal, { number, offset }: DirectoryRecord): Error {
  return refuseZip({ reason, entry: number, offset });
}
