import type { ZipFile } from './zip-file.js';
import { refuseZip } from './zip-refused.js';

/** Where the directory of a zip stands, and how many entries it is said to have. */
export interface ZipEnd {
  entries: number;
  /** The directory is the bytes from here … */
  directoryStart: number;
  /** … up to here, directly followed by the end records. */
  directoryEnd: number;
}

/**
 * Reads the records at the end of a zip (APPNOTE 4.3.14 to 4.3.16). Two readers could pick different
 * ones where more than one fits, so there must be exactly one: it reaches to the end of the file with
 * its comment, or all but blocks of zeros, the comment holds no signature of another, and nothing
 * stands between it and the directory.
 */
export async function readZipEnd(file: ZipFile): Promise<ZipEnd> {
  const offset = await findEndRecord(file);
  const end = await file.read(offset, endBytes);
  const stated: Stated = {
    entries: end.readUInt16LE(10),
    directoryBytes: end.readUInt32LE(12),
    directoryStart: end.readUInt32LE(16),
  };
  if (end.readUInt16LE(8) !== stated.entries) throw refuseZip({ reason: 'entry_count', offset });
  const long = await readZip64End(file, offset, stated);
  const disks = [end.readUInt16LE(4), end.readUInt16LE(6)];
  // Full like the other fields where the 64-bit end, which says 0, speaks for them (zip.js).
  if (!disks.every((disk) => disk === 0 || (disk === 0xffff && long !== undefined))) {
    throw refuseZip({ reason: 'multi_disk', offset });
  }
  const { entries, directoryStart, directoryBytes } = long ?? stated;
  const directoryEnd = long?.offset ?? offset;
  await checkPlace(file, directoryStart, directoryBytes, directoryEnd);
  // A number that is made up must not become memory.
  if (entries > directoryBytes / minRecordBytes) throw refuseZip({ reason: 'entry_count', offset });
  return { entries, directoryStart, directoryEnd };
}

interface Stated {
  entries: number;
  directoryBytes: number;
  directoryStart: number;
}

const endBytes = 22;
/** Of an entry in the directory, without its name. */
const minRecordBytes = 46;
const maxCommentBytes = 0xffff;

async function findEndRecord(file: ZipFile): Promise<number> {
  const start = Math.max(0, file.bytes - endBytes - maxCommentBytes);
  const tail = await file.read(start, file.bytes - start);
  const candidates: number[] = [];
  let last = -1;
  for (let at = tail.indexOf(endSignature); at >= 0; at = tail.indexOf(endSignature, at + 1)) {
    last = at;
    if (at + endBytes > tail.length) continue;
    const end = at + endBytes + tail.readUInt16LE(at + 20);
    if (end === tail.length || isPadding(tail.subarray(end), file)) candidates.push(at);
  }
  const [found] = candidates;
  if (found === undefined) throw await withoutEnd(file, last + endBytes, tail.length);
  if (candidates.length > 1 || last !== found) {
    throw refuseZip({ reason: 'ambiguous_end', offset: start + last });
  }
  return start + found;
}

/** What fills up the last record of twenty blocks when bsdtar writes a zip into a pipe, as it does tars. */
function isPadding(rest: Buffer, file: ZipFile): boolean {
  const isPlausible = rest.length > 0 && rest.length < recordBytes;
  return isPlausible && file.bytes % recordBytes === 0 && rest.every((byte) => byte === 0);
}

const recordBytes = 20 * 512;

/** Why there is no end record that reaches to the end of the file. */
async function withoutEnd(file: ZipFile, lastEnd: number, tailBytes: number): Promise<Error> {
  if (lastEnd >= endBytes && lastEnd < tailBytes) return refuseZip({ reason: 'trailing_data' });
  const isBegun = file.bytes >= 4 && (await file.read(0, 4)).equals(localSignature);
  return refuseZip({ reason: isBegun ? 'truncated' : 'not_a_zip' });
}

/** What the 64-bit records say, if they are there; they must agree with the 32-bit one. */
async function readZip64End(
  file: ZipFile,
  endOffset: number,
  stated: Stated,
): Promise<(Stated & { offset: number }) | undefined> {
  const locatorOffset = endOffset - locatorBytes;
  if (locatorOffset < 0) return undefined;
  const locator = await file.read(locatorOffset, locatorBytes);
  if (!locator.subarray(0, 4).equals(locatorSignature)) return undefined;
  const refuse = () => refuseZip({ reason: 'bad_zip64', offset: locatorOffset });
  const offset = locatorOffset - end64Bytes;
  // Directly before the locator, without the extensible part, which only encryption uses.
  if (offset < 0 || locator.readBigUInt64LE(8) !== BigInt(offset)) throw refuse();
  if (locator.readUInt32LE(4) !== 0 || locator.readUInt32LE(16) !== 1) throw refuse();
  const end = await file.read(offset, end64Bytes);
  if (!end.subarray(0, 4).equals(end64Signature)) throw refuse();
  if (end.readBigUInt64LE(4) !== BigInt(end64Bytes - 12)) throw refuse();
  if (end.readUInt32LE(16) !== 0 || end.readUInt32LE(20) !== 0) throw refuse();
  if (end.readBigUInt64LE(24) !== end.readBigUInt64LE(32)) throw refuse();
  const long = {
    entries: Number(end.readBigUInt64LE(32)),
    directoryBytes: Number(end.readBigUInt64LE(40)),
    directoryStart: Number(end.readBigUInt64LE(48)),
  };
  const agree =
    [long.entries, 0xffff].includes(stated.entries) &&
    [long.directoryBytes, 0xffffffff].includes(stated.directoryBytes) &&
    [long.directoryStart, 0xffffffff].includes(stated.directoryStart);
  if (!agree) throw refuse();
  return { ...long, offset };
}

const locatorBytes = 20;
const end64Bytes = 56;

async function checkPlace(
  file: ZipFile,
  start: number,
  bytes: number,
  expectedEnd: number,
): Promise<void> {
  const missing = expectedEnd - (start + bytes);
  if (missing === 0) return;
  if (missing < 0) throw refuseZip({ reason: 'bad_directory', offset: expectedEnd });
  // A program in front of a zip that was not told of it: all positions are off by its length.
  const isShifted = (await file.read(missing, 4)).equals(
    bytes === 0 ? endSignature : localSignature,
  );
  throw refuseZip(
    isShifted
      ? { reason: 'prefixed_data', offset: 0 }
      : { reason: 'hidden_data', offset: start + bytes },
  );
}

const endSignature = Buffer.from('PK\x05\x06', 'latin1');
const end64Signature = Buffer.from('PK\x06\x06', 'latin1');
const locatorSignature = Buffer.from('PK\x06\x07', 'latin1');
const localSignature = Buffer.from('PK\x03\x04', 'latin1');
