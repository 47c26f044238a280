import {
  asiModeOf,
  extraId,
  parseExtraFields,
  resolveZip64,
  type ExtraFields,
} from './extra-fields.js';
import { readName } from './name-readings.js';
import type { DirectoryRecord } from './zip-directory.js';
import type { ZipFile } from './zip-file.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/**
 * Where the packed bytes of an entry stand. Its local header must say what the directory says, and the
 * entry must end exactly at `nextStart`, where the next one or the directory begins: a reader that goes
 * by local headers then finds the same entries as one that goes by the directory.
 */
export async function readLocalHeader(
  file: ZipFile,
  record: DirectoryRecord,
  nextStart: number,
): Promise<{ start: number; end: number }> {
  const offset = record.headerOffset;
  const refuse = (reason: ZipRefusal) => refuseZip({ reason, entry: record.number, offset });
  if (offset + headerBytes > nextStart) throw refuse('overlap');
  const fixed = await file.read(offset, headerBytes);
  if (fixed.readUInt32LE(0) !== signature) throw refuse('header_mismatch');
  const nameBytes = fixed.readUInt16LE(26);
  const extraBytes = fixed.readUInt16LE(28);
  const start = offset + headerBytes + nameBytes + extraBytes;
  const end = start + record.packedBytes;
  if (end > nextStart) throw refuse('overlap');
  const rest = await file.read(offset + headerBytes, nameBytes + extraBytes);
  const extra = parseExtraFields(rest.subarray(nameBytes));
  if (extra === undefined) throw refuse('bad_extra');
  const local: LocalHeader = {
    flags: fixed.readUInt16LE(6),
    method: fixed.readUInt16LE(8),
    crc: fixed.readUInt32LE(14),
    packedBytes: fixed.readUInt32LE(18),
    bytes: fixed.readUInt32LE(22),
    rawName: rest.subarray(0, nameBytes),
    extra,
  };
  const problem = entryProblem(local, record);
  if (problem !== undefined) throw refuse(problem);
  if ((record.flags & descriptorFlag) === 0) {
    if (end < nextStart) throw refuseZip({ reason: 'hidden_data', offset: end });
  } else {
    await checkDescriptor(file, record, { start: end, end: nextStart });
  }
  return { start, end };
}

interface LocalHeader {
  flags: number;
  method: number;
  crc: number;
  packedBytes: number;
  bytes: number;
  rawName: Buffer;
  extra: ExtraFields;
}

const headerBytes = 30;
const signature = 0x04034b50;
/** Bit 3: checksum and sizes follow the content. */
const descriptorFlag = 0x8;
const deflated = 8;
/** Bits 1 and 2: how much effort the compression took. */
const effortFlags = 0x6;
/** Bit 11: the name is in UTF-8. */
const utf8Flag = 0x800;
const full = 0xffffffff;

/** What keeps the header from saying the same as the record. */
function entryProblem(local: LocalHeader, record: DirectoryRecord): ZipRefusal | undefined {
  const isAscii = local.rawName.every((byte) => byte < 0x80);
  const free = (isAscii ? utf8Flag : 0) | (local.method === deflated ? effortFlags : 0);
  const isSame =
    local.method === record.method &&
    ((local.flags ^ record.flags) & ~free) === 0 &&
    local.rawName.equals(record.rawName) &&
    areSameSizes(local, record);
  if (!isSame) return 'header_mismatch';
  const asiMode = asiModeOf(local.extra);
  if (asiMode !== 0 && asiMode !== asiModeOf(record.extra)) return 'header_mismatch';
  // The rest of what makes the name: the extra field. Without it there is the raw one, which is among
  // the readings of the record.
  if (!local.extra.has(extraId.unicodePath)) return undefined;
  const { madeBy } = record;
  const [name, known] = [readName({ ...local, madeBy }), readName(record)];
  if ('refused' in name) return name.refused;
  return 'path' in known && name.path === known.path ? undefined : 'header_mismatch';
}

function areSameSizes(local: LocalHeader, record: DirectoryRecord): boolean {
  const sizes = resolveZip64(
    [
      { value: local.bytes, full },
      { value: local.packedBytes, full },
    ],
    local.extra.get(extraId.zip64),
  );
  if (sizes === undefined) return false;
  const stated = [local.crc, ...sizes];
  const known = [record.crc, record.bytes, record.packedBytes];
  const mayBeUnknown = (record.flags & descriptorFlag) !== 0;
  return stated.every((value, index) => value === known[index] || (mayBeUnknown && value === 0));
}

/** With or without its signature, its sizes in 32 or 64 bits (APPNOTE 4.3.9): its length tells. */
async function checkDescriptor(
  file: ZipFile,
  record: DirectoryRecord,
  { start, end }: { start: number; end: number },
): Promise<void> {
  const refuse = (reason: ZipRefusal) => refuseZip({ reason, entry: record.number, offset: start });
  const length = end - start;
  if (length > 24) throw refuseZip({ reason: 'hidden_data', offset: start + 24 });
  if (![12, 16, 20, 24].includes(length)) throw refuse('descriptor_mismatch');
  const descriptor = await file.read(start, length);
  const isSigned = length % 8 === 0;
  if (isSigned && descriptor.readUInt32LE(0) !== descriptorSignature) {
    throw refuse('descriptor_mismatch');
  }
  const fields = descriptor.subarray(isSigned ? 4 : 0);
  const isLong = length >= 20;
  const sizes = isLong
    ? [Number(fields.readBigUInt64LE(4)), Number(fields.readBigUInt64LE(12))]
    : [fields.readUInt32LE(4), fields.readUInt32LE(8)];
  const agrees =
    fields.readUInt32LE(0) === record.crc &&
    sizes[0] === record.packedBytes &&
    sizes[1] === record.bytes;
  if (!agrees) throw refuse('descriptor_mismatch');
}

const descriptorSignature = 0x08074b50;
