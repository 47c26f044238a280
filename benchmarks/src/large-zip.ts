import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { constants, crc32, deflateRawSync } from 'node:zlib';

interface Block {
  content: Buffer;
  packed: Buffer;
}

/**
 * Writes a zip of one file with `bytes` of content that no packer makes smaller (one random MiB, over
 * and over: deflate looks back 32 KiB), stored as it is. At most 4 GiB.
 */
export async function writeStoredZip(
  path: string,
  { bytes, signal }: { bytes: number; signal: AbortSignal },
): Promise<void> {
  const block = randomBytes(mib);
  function* blocks() {
    for (let left = bytes; left > 0; left -= block.length) {
      const content = block.subarray(0, left);
      yield { content, packed: content };
    }
  }
  await writeZip(path, 0, blocks(), signal);
}

/**
 * Writes a zip of one deflated file that is `bytes` large, with about twice as much in it: volumes as
 * scanners make them, samples of 16 bits whose upper half is smooth and whose lower half is noise.
 * At most 2 GiB.
 */
export async function writeDeflatedZip(
  path: string,
  { bytes, signal }: { bytes: number; signal: AbortSignal },
): Promise<void> {
  const content = randomBytes(mib);
  for (let at = 1; at < content.length; at += 2) content[at] = (at >> 12) & 0xff;
  for (let at = 0; at < content.length; at += 2) content[at] = (content[at] ?? 0) & 0x3f;
  // Each block stands for itself, so that one can follow the other.
  const packed = deflateRawSync(content, { finishFlush: constants.Z_FULL_FLUSH });
  function* blocks() {
    for (let written = 0; written < bytes; written += packed.length) yield { content, packed };
    yield { content: Buffer.alloc(0), packed: deflateRawSync('') };
  }
  await writeZip(path, 8, blocks(), signal);
}

const mib = 1024 ** 2;

async function writeZip(
  path: string,
  method: number,
  blocks: Iterable<Block>,
  signal: AbortSignal,
): Promise<void> {
  const entry: Entry = {
    name: Buffer.from('volume.bin'),
    method,
    crc: 0,
    bytes: 0,
    packedBytes: 0,
  };
  const file = await open(path, 'w');
  try {
    // The header tells the checksum: it is written when that is known.
    const start = localHeader(entry).length;
    for (const { content, packed } of blocks) {
      signal.throwIfAborted();
      entry.crc = crc32(content, entry.crc);
      await file.write(packed, 0, packed.length, start + entry.packedBytes);
      entry.bytes += content.length;
      entry.packedBytes += packed.length;
    }
    const at = start + entry.packedBytes;
    const central = centralRecord(entry);
    const end = endRecord(central.length, at);
    await file.write(Buffer.concat([central, end]), 0, central.length + end.length, at);
    const header = localHeader(entry);
    await file.write(header, 0, header.length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

interface Entry {
  name: Buffer;
  method: number;
  crc: number;
  bytes: number;
  packedBytes: number;
}

function localHeader({ name, method, crc, bytes, packedBytes }: Entry): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(20, 4);
  header.writeUInt16LE(method, 8);
  header.writeUInt16LE(firstDate, 12);
  header.writeUInt32LE(crc, 14);
  header.writeUInt32LE(packedBytes, 18);
  header.writeUInt32LE(bytes, 22);
  header.writeUInt16LE(name.length, 26);
  return Buffer.concat([header, name]);
}

function centralRecord({ name, method, crc, bytes, packedBytes }: Entry): Buffer {
  const record = Buffer.alloc(46);
  record.writeUInt32LE(0x02014b50, 0);
  record.writeUInt16LE(20, 4);
  record.writeUInt16LE(20, 6);
  record.writeUInt16LE(method, 10);
  record.writeUInt16LE(firstDate, 14);
  record.writeUInt32LE(crc, 16);
  record.writeUInt32LE(packedBytes, 20);
  record.writeUInt32LE(bytes, 24);
  record.writeUInt16LE(name.length, 28);
  return Buffer.concat([record, name]);
}

function endRecord(centralBytes: number, centralOffset: number): Buffer {
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(1, 8);
  record.writeUInt16LE(1, 10);
  record.writeUInt32LE(centralBytes, 12);
  record.writeUInt32LE(centralOffset, 16);
  return record;
}

/** 1980-01-01, in the form of zips. */
const firstDate = (1 << 5) | 1;
