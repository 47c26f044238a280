import { crc32, deflateRawSync } from 'node:zlib';

/** An entry of a zip, honest where nothing else is said. */
export interface RawEntry {
  name: string | Buffer;
  content?: Buffer | string;
  /** The unix mode; 0 says nothing. */
  mode?: number;
  flags?: number;
  /** 8 deflates the content. */
  method?: number;
  madeBy?: number;
  /** Lies: what the directory states in place of the truth. */
  crc?: number;
  bytes?: number;
  packedBytes?: number;
  offset?: number;
  packed?: Buffer;
  extra?: Buffer;
}

export interface RawEnd {
  entryCount?: number;
  disk?: number;
  comment?: Buffer;
  /** What follows the end record. */
  suffix?: Buffer;
}

export const flag = { encrypted: 0x1, strong: 0x41, utf8: 0x800, masked: 0x2001 };

/** Writes zips byte by byte, sound or not: our own writer could not be made to lie. */
export function buildZip(entries: readonly RawEntry[], end: RawEnd = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name as string);
    const content = Buffer.from((entry.content ?? '') as string);
    const packed = entry.packed ?? (entry.method === 8 ? deflateRawSync(content) : content);
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(entry.flags ?? flag.utf8, 2);
    shared.writeUInt16LE(entry.method ?? 0, 4);
    // 2024-03-02 10:20:30
    shared.writeUInt16LE((10 << 11) | (20 << 5) | 15, 6);
    shared.writeUInt16LE((44 << 9) | (3 << 5) | 2, 8);
    shared.writeUInt32LE(entry.crc ?? crc32(content), 10);
    shared.writeUInt32LE(entry.packedBytes ?? packed.length, 14);
    shared.writeUInt32LE(entry.bytes ?? content.length, 18);
    shared.writeUInt16LE(name.length, 22);
    parts.push(uint32(0x04034b50), shared, name, packed);

    const extra = entry.extra ?? Buffer.alloc(0);
    shared.writeUInt16LE(extra.length, 24);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50, 0);
    record.writeUInt16LE(entry.madeBy ?? (3 << 8) | 20, 4);
    shared.copy(record, 6);
    record.writeUInt32LE(((entry.mode ?? 0) << 16) >>> 0, 38);
    record.writeUInt32LE(entry.offset ?? offset, 42);
    directory.push(record, name, extra);
    offset += 30 + name.length + packed.length;
  }
  const central = Buffer.concat(directory);
  const comment = end.comment ?? Buffer.alloc(0);
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(end.disk ?? 0, 4);
  record.writeUInt16LE(end.entryCount ?? entries.length, 8);
  record.writeUInt16LE(end.entryCount ?? entries.length, 10);
  record.writeUInt32LE(central.length, 12);
  record.writeUInt32LE(offset, 16);
  record.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, central, record, comment, end.suffix ?? Buffer.alloc(0)]);
}

/** An end record whose ZIP64 locator points to `offset`. */
export function buildZip64End(offset: bigint): Buffer {
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(offset, 8);
  return Buffer.concat([locator, buildZip([])]);
}

/** An extra field of a directory record. */
export function extraField(id: number, data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(data.length, 2);
  return Buffer.concat([head, data]);
}

/** Info-ZIP's field with the name in UTF-8, for an entry whose own name is `raw`. */
export function unicodeName(raw: Buffer, name: Buffer, checksum = crc32(raw)): Buffer {
  return extraField(0x7075, Buffer.concat([Buffer.from([1]), uint32(checksum), name]));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value, 0);
  return bytes;
}
