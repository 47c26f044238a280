import { crc32, deflateRawSync } from 'node:zlib';

/** What both headers of an entry say, where nothing else is said the truth. */
interface RawHeader {
  name?: string | Buffer;
  version?: number;
  flags?: number;
  /** 8 deflates the content. */
  method?: number;
  crc?: number;
  bytes?: number;
  packedBytes?: number;
  extra?: Buffer;
}

/** An entry of a zip, honest where nothing else is said. */
export interface RawEntry extends RawHeader {
  name: string | Buffer;
  content?: Buffer | string;
  /** The unix mode; 0 says nothing. */
  mode?: number;
  /** Of DOS: the lower half of where the mode is the upper. */
  attributes?: number;
  madeBy?: number;
  packed?: Buffer;
  /** What the local header says in place of that; an extra field stands only here or above. */
  local?: RawHeader;
  /** What follows the content: a descriptor. */
  descriptor?: Buffer;
  /** Only in the directory. */
  offset?: number;
  disk?: number;
  comment?: Buffer;
}

export interface RawEnd {
  /** Before everything, with all positions counted from behind it. */
  prefix?: Buffer;
  /** Between the last entry and the directory. */
  gap?: Buffer;
  entryCount?: number;
  entriesHere?: number;
  disk?: number;
  directoryBytes?: number;
  directoryOffset?: number;
  /** Between the directory and the end record. */
  beforeEnd?: (directory: { offset: number; bytes: number; entries: number }) => Buffer;
  comment?: Buffer;
  /** What follows the end record. */
  suffix?: Buffer;
}

export const flag = { encrypted: 0x1, descriptor: 0x8, strong: 0x41, utf8: 0x800, masked: 0x2001 };

/** Writes zips byte by byte, sound or not: our own writer could not be made to lie. */
export function buildZip(entries: readonly RawEntry[], end: RawEnd = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const content = Buffer.from((entry.content ?? '') as string);
    const packed = entry.packed ?? (entry.method === 8 ? deflateRawSync(content) : content);
    const truth = { crc: crc32(content), bytes: content.length, packedBytes: packed.length };
    const stated = { ...truth, ...entry };
    const header = localHeader({ ...stated, extra: nothing, ...entry.local });
    const descriptor = entry.descriptor ?? nothing;
    parts.push(header, packed, descriptor);
    directory.push(directoryRecord({ offset, ...stated }));
    offset += header.length + packed.length + descriptor.length;
  }
  const gap = end.gap ?? nothing;
  offset += gap.length;
  const central = Buffer.concat(directory);
  const beforeEnd = end.beforeEnd?.({ offset, bytes: central.length, entries: entries.length });
  return Buffer.concat([
    ...[end.prefix ?? nothing, ...parts, gap, central, beforeEnd ?? nothing],
    endRecord(end, { entries: entries.length, bytes: central.length, offset }),
    end.suffix ?? nothing,
  ]);
}

const nothing = Buffer.alloc(0);

/** 26 bytes that stand in both headers, from the version on. */
function shared(header: RawHeader): Buffer {
  const { version = 20, flags = flag.utf8, method = 0, crc = 0, bytes = 0 } = header;
  const { packedBytes = 0, extra = nothing } = header;
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(version, 0);
  fields.writeUInt16LE(flags, 2);
  fields.writeUInt16LE(method, 4);
  // 2024-03-02 10:20:30
  fields.writeUInt16LE((10 << 11) | (20 << 5) | 15, 6);
  fields.writeUInt16LE((44 << 9) | (3 << 5) | 2, 8);
  fields.writeUInt32LE(crc, 10);
  fields.writeUInt32LE(packedBytes, 14);
  fields.writeUInt32LE(bytes, 18);
  fields.writeUInt16LE(nameOf(header).length, 22);
  fields.writeUInt16LE(extra.length, 24);
  return fields;
}

function nameOf({ name = '' }: RawHeader): Buffer {
  return Buffer.from(name as string);
}

function localHeader(header: RawHeader): Buffer {
  return Buffer.concat([
    ...[uint32(0x04034b50), shared(header), nameOf(header)],
    header.extra ?? nothing,
  ]);
}

function directoryRecord(entry: RawEntry & { offset: number }): Buffer {
  const { extra = nothing, comment = nothing } = entry;
  const record = Buffer.alloc(46);
  record.writeUInt32LE(0x02014b50, 0);
  record.writeUInt16LE(entry.madeBy ?? (3 << 8) | 20, 4);
  shared(entry).copy(record, 6);
  record.writeUInt16LE(comment.length, 32);
  record.writeUInt16LE(entry.disk ?? 0, 34);
  record.writeUInt32LE((((entry.mode ?? 0) << 16) | (entry.attributes ?? 0)) >>> 0, 38);
  record.writeUInt32LE(entry.offset, 42);
  return Buffer.concat([record, nameOf(entry), extra, comment]);
}

function endRecord(
  end: RawEnd,
  { entries, bytes, offset }: { entries: number; bytes: number; offset: number },
): Buffer {
  const comment = end.comment ?? nothing;
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(end.disk ?? 0, 4);
  record.writeUInt16LE(end.entriesHere ?? end.entryCount ?? entries, 8);
  record.writeUInt16LE(end.entryCount ?? entries, 10);
  record.writeUInt32LE(end.directoryBytes ?? bytes, 12);
  record.writeUInt32LE(end.directoryOffset ?? offset, 16);
  record.writeUInt16LE(comment.length, 20);
  return Buffer.concat([record, comment]);
}

/** The 64-bit end record and its locator, honest where nothing else is said. */
export function zip64End(
  directory: { offset: number; bytes: number; entries: number },
  lies: {
    entries?: number;
    bytes?: number;
    offset?: number;
    size?: number;
    at?: bigint;
    disks?: number;
  } = {},
): Buffer {
  const stated = { ...directory, ...lies };
  const end = Buffer.alloc(56);
  end.writeUInt32LE(0x06064b50, 0);
  end.writeBigUInt64LE(BigInt(lies.size ?? 44), 4);
  end.writeUInt16LE((3 << 8) | 45, 12);
  end.writeUInt16LE(45, 14);
  end.writeBigUInt64LE(BigInt(stated.entries), 24);
  end.writeBigUInt64LE(BigInt(stated.entries), 32);
  end.writeBigUInt64LE(BigInt(stated.bytes), 40);
  end.writeBigUInt64LE(BigInt(stated.offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(lies.at ?? BigInt(directory.offset + directory.bytes), 8);
  locator.writeUInt32LE(lies.disks ?? 1, 16);
  return Buffer.concat([end, locator]);
}

/** An extra field of a header. */
export function extraField(id: number, data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(data.length, 2);
  return Buffer.concat([head, data]);
}

/** The field with those 64-bit values. */
export function zip64Field(...values: (number | bigint)[]): Buffer {
  return extraField(1, Buffer.concat(values.map(uint64)));
}

/** Info-ZIP's field with the name in UTF-8, for an entry whose own name is `raw`. */
export function unicodeName(
  raw: Buffer,
  name: Buffer,
  { version = 1, checksum = crc32(raw) }: { version?: number; checksum?: number } = {},
): Buffer {
  return extraField(0x7075, Buffer.concat([Buffer.from([version]), uint32(checksum), name]));
}

/** What follows the content of an entry whose flags have bit 3. */
export function descriptor(
  content: string | Buffer,
  form: { signed?: boolean; long?: boolean; crc?: number; bytes?: number; packed?: number } = {},
): Buffer {
  const bytes = Buffer.byteLength(content);
  const size = form.long === true ? uint64 : uint32;
  return Buffer.concat([
    form.signed === false ? nothing : uint32(0x08074b50),
    uint32(form.crc ?? crc32(content)),
    size(form.packed ?? bytes),
    size(form.bytes ?? bytes),
  ]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value, 0);
  return bytes;
}

function uint64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value), 0);
  return bytes;
}
