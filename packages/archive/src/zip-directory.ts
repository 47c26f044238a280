import { extraId, parseExtraFields, resolveZip64, type ExtraFields } from './extra-fields.js';
import type { ZipEnd } from './zip-end.js';
import type { ZipFile } from './zip-file.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/** What the directory says of an entry (APPNOTE 4.3.12); nothing of it is believed yet. */
export interface DirectoryRecord {
  /** Counted from 1. */
  number: number;
  /** Of this record in the file. */
  offset: number;
  madeBy: number;
  version: number;
  flags: number;
  method: number;
  /** MS-DOS time in the lower half, date in the upper. */
  dosTime: number;
  crc: number;
  packedBytes: number;
  bytes: number;
  rawName: Buffer;
  extra: ExtraFields;
  /** The unix mode; 0 when there is none. */
  mode: number;
  /** Those of DOS and Windows. */
  attributes: number;
  headerOffset: number;
}

/** A directory that is one record after the other, as many as stated, and nothing else. */
export interface ZipDirectory {
  /** In its own order; each call reads it again: memory does not grow with names. */
  records(): AsyncGenerator<DirectoryRecord>;
  /** The sum of the sizes that it states. */
  unzippedBytes: number;
  /** Where the next entry or the directory begins after the entry whose header stands at `offset`. */
  nextStart(offset: number, number: number): number;
}

/**
 * Reads the directory once for its shape and for where entries begin: sorted, these positions are
 * what tells whether the entries lie side by side, without gap or overlap. Keeps one number an entry.
 * Throws the signal's reason, here and from the records.
 */
export async function readZipDirectory(
  file: ZipFile,
  end: ZipEnd,
  signal: AbortSignal,
): Promise<ZipDirectory> {
  const starts = new Float64Array(end.entries);
  let unzippedBytes = 0;
  for await (const { number, offset, headerOffset, bytes } of readRecords(file, end, signal)) {
    unzippedBytes += bytes;
    if (headerOffset >= end.directoryStart) {
      throw refuseZip({ reason: 'overlap', entry: number, offset });
    }
    starts[number - 1] = headerOffset;
  }
  starts.sort();
  const [first = end.directoryStart] = starts;
  if (first > 0) throw refuseZip({ reason: 'prefixed_data', offset: 0 });
  return {
    records: () => readRecords(file, end, signal),
    unzippedBytes,
    nextStart(offset, number) {
      // Entries mostly stand in the order of the directory.
      const index = starts[number - 1] === offset ? number - 1 : lowest(starts, offset);
      return starts[index + 1] ?? end.directoryStart;
    },
  };
}

const recordBytes = 46;
const signature = 0x02014b50;

async function* readRecords(
  file: ZipFile,
  end: ZipEnd,
  signal: AbortSignal,
): AsyncGenerator<DirectoryRecord> {
  let offset = end.directoryStart;
  for (let number = 1; number <= end.entries; number++) {
    // Each read past a window lets the news of an abort in.
    signal.throwIfAborted();
    if (offset === end.directoryEnd) throw refuseZip({ reason: 'entry_count', offset });
    const refuse = (reason: ZipRefusal) => refuseZip({ reason, entry: number, offset });
    if (offset + recordBytes > end.directoryEnd) throw refuse('bad_directory');
    const fixed = await file.read(offset, recordBytes);
    if (fixed.readUInt32LE(0) !== signature) throw refuse('bad_directory');
    const nameBytes = fixed.readUInt16LE(28);
    const extraBytes = fixed.readUInt16LE(30);
    const commentBytes = fixed.readUInt16LE(32);
    const next = offset + recordBytes + nameBytes + extraBytes + commentBytes;
    if (next > end.directoryEnd) throw refuse('bad_directory');
    const rest = await file.read(offset + recordBytes, nameBytes + extraBytes);
    const extra = parseExtraFields(rest.subarray(nameBytes));
    if (extra === undefined) throw refuse('bad_extra');
    const long = extra.get(extraId.zip64);
    const places = resolveZip64(
      [
        { value: fixed.readUInt32LE(24), full: 0xffffffff },
        { value: fixed.readUInt32LE(20), full: 0xffffffff },
        { value: fixed.readUInt32LE(42), full: 0xffffffff },
      ],
      long,
    );
    if (places === undefined) throw refuse('bad_zip64');
    if (diskOf(fixed.readUInt16LE(34), long) !== 0) throw refuse('multi_disk');
    const [bytes = 0, packedBytes = 0, headerOffset = 0] = places;
    yield {
      number,
      offset,
      madeBy: fixed.readUInt16LE(4),
      version: fixed.readUInt16LE(6),
      flags: fixed.readUInt16LE(8),
      method: fixed.readUInt16LE(10),
      dosTime: fixed.readUInt32LE(12),
      crc: fixed.readUInt32LE(16),
      packedBytes,
      bytes,
      rawName: rest.subarray(0, nameBytes),
      extra,
      mode: fixed.readUInt16LE(40),
      attributes: fixed.readUInt16LE(38),
      headerOffset,
    };
    offset = next;
  }
  if (offset !== end.directoryEnd) throw refuseZip({ reason: 'entry_count', offset });
}

/** The number of the disk stands behind the 64-bit values when 16 bits are too few for it. */
function diskOf(stated: number, long: Buffer | undefined): number {
  if (long === undefined || long.length % 8 !== 4) return stated;
  const disk = long.readUInt32LE(long.length - 4);
  return stated === 0xffff ? disk : stated | disk;
}

/** The index of the first that is not below `value`. */
function lowest(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
