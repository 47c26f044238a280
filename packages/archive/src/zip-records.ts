/** What the headers of one entry say. */
export interface ZipRecord {
  name: Buffer;
  mode: number;
  modified: Date;
  bytes: number;
  packedBytes: number;
  checksum: number;
  deflated: boolean;
  /** Sizes and checksum follow the content in a descriptor. */
  streamed: boolean;
  /** Sizes take 64 bits: said in the local header, before the packed size is known. */
  zip64: boolean;
  /** Of the local header. */
  offset: number;
}

/** Level 1 makes noise longer by less than a thousandth; the margin is 1 in 256. */
export function mayNeedZip64(bytes: number): boolean {
  return bytes >= 0xff000000;
}

export function localHeader(record: ZipRecord): Buffer {
  const { name, streamed, zip64 } = record;
  const known = !streamed;
  const extra = Buffer.concat([
    zip64 ? zip64Field(known ? [record.bytes, record.packedBytes] : [0, 0]) : nothing,
    timeField(record.modified),
  ]);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  writeCommon(header, 4, record);
  header.writeUInt32LE(known ? record.checksum : 0, 14);
  header.writeUInt32LE(zip64 ? overflow : known ? record.packedBytes : 0, 18);
  header.writeUInt32LE(zip64 ? overflow : known ? record.bytes : 0, 22);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(extra.length, 28);
  return Buffer.concat([header, name, extra]);
}

export function dataDescriptor({ checksum, packedBytes, bytes, zip64 }: ZipRecord): Buffer {
  const descriptor = Buffer.alloc(zip64 ? 24 : 16);
  descriptor.writeUInt32LE(0x08074b50, 0);
  descriptor.writeUInt32LE(checksum, 4);
  if (zip64) {
    descriptor.writeBigUInt64LE(BigInt(packedBytes), 8);
    descriptor.writeBigUInt64LE(BigInt(bytes), 16);
  } else {
    descriptor.writeUInt32LE(packedBytes, 8);
    descriptor.writeUInt32LE(bytes, 12);
  }
  return descriptor;
}

export function centralRecord(record: ZipRecord): Buffer {
  const { name, mode, zip64, offset } = record;
  const farAway = offset >= overflow;
  const long = [...(zip64 ? [record.bytes, record.packedBytes] : []), ...(farAway ? [offset] : [])];
  const extra = Buffer.concat([
    long.length > 0 ? zip64Field(long) : nothing,
    timeField(record.modified),
  ]);
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(madeByUnix, 4);
  writeCommon(header, 6, record);
  header.writeUInt32LE(record.checksum, 16);
  header.writeUInt32LE(zip64 ? overflow : record.packedBytes, 20);
  header.writeUInt32LE(zip64 ? overflow : record.bytes, 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  // The lower half is for DOS, which knows of folders only.
  const isFolder = name.at(-1) === slash;
  header.writeUInt32LE(((mode << 16) | (isFolder ? dosFolder : 0)) >>> 0, 38);
  header.writeUInt32LE(farAway ? overflow : offset, 42);
  return Buffer.concat([header, name, extra]);
}

/** The records that end the zip, after a central directory of `bytes` at `offset`. */
export function endRecords(central: { entries: number; offset: number; bytes: number }): Buffer {
  const { entries, offset, bytes } = central;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(entries, 0xffff), 8);
  end.writeUInt16LE(Math.min(entries, 0xffff), 10);
  end.writeUInt32LE(Math.min(bytes, overflow), 12);
  end.writeUInt32LE(Math.min(offset, overflow), 16);
  if (entries < 0xffff && bytes < overflow && offset < overflow) return end;

  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeUInt16LE(madeByUnix, 12);
  end64.writeUInt16LE(zip64Version, 14);
  end64.writeBigUInt64LE(BigInt(entries), 24);
  end64.writeBigUInt64LE(BigInt(entries), 32);
  end64.writeBigUInt64LE(BigInt(bytes), 40);
  end64.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + bytes), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([end64, locator, end]);
}

const nothing = Buffer.alloc(0);
/** In a 32-bit field: look into the zip64 field. */
const overflow = 0xffffffff;
const slash = 0x2f;
const dosFolder = 0x10;
const version = 20;
const zip64Version = 45;
const madeByUnix = (3 << 8) | zip64Version;
const flags = { descriptor: 1 << 3, utf8: 1 << 11 };

/** The ten bytes that both headers share: version, flags, method, time, date. */
function writeCommon(header: Buffer, at: number, record: ZipRecord): void {
  const { zip64, streamed, deflated, modified } = record;
  const { time, date } = dosTime(modified);
  header.writeUInt16LE(zip64 ? zip64Version : version, at);
  header.writeUInt16LE(flags.utf8 | (streamed ? flags.descriptor : 0), at + 2);
  header.writeUInt16LE(deflated ? 8 : 0, at + 4);
  header.writeUInt16LE(time, at + 6);
  header.writeUInt16LE(date, at + 8);
}

function zip64Field(values: number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length);
  field.writeUInt16LE(0x0001, 0);
  field.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, index) => field.writeBigUInt64LE(BigInt(value), 4 + 8 * index));
  return field;
}

/** The time in UTC, which the DOS fields leave open: Info-ZIP's extended timestamp. */
function timeField(modified: Date): Buffer {
  const field = Buffer.alloc(9);
  field.writeUInt16LE(0x5455, 0);
  field.writeUInt16LE(5, 2);
  field.writeUInt8(1, 4);
  field.writeInt32LE(clamp(Math.floor(modified.getTime() / 1000), 0, 0x7fffffff), 5);
  return field;
}

/** Two-second steps from 1980 to 2107. */
function dosTime(modified: Date): { time: number; date: number } {
  const at = new Date(clamp(modified.getTime(), Date.UTC(1980, 0, 1), Date.UTC(2107, 11, 31)));
  return {
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
    date: ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate(),
  };
}

/** A time that makes no sense becomes the earliest. */
function clamp(value: number, min: number, max: number): number {
  return Number.isNaN(value) ? min : Math.min(Math.max(value, min), max);
}
