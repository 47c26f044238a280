import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

/**
 * Writes a zip of one file with `bytes` of content that no packer makes smaller (one random MiB, over
 * and over: deflate looks back 32 KiB), stored as it is. At most 4 GiB.
 */
export async function writeStoredZip(
  path: string,
  { bytes, signal }: { bytes: number; signal: AbortSignal },
): Promise<void> {
  const name = Buffer.from('noise.bin');
  const block = randomBytes(1024 ** 2);
  const file = await open(path, 'w');
  try {
    // The header tells the checksum: it is written when that is known.
    let at = localHeader(name, 0, 0).length;
    let checksum = 0;
    for (let left = bytes; left > 0; left -= block.length) {
      signal.throwIfAborted();
      const chunk = block.subarray(0, left);
      checksum = crc32(chunk, checksum);
      await file.write(chunk, 0, chunk.length, at);
      at += chunk.length;
    }
    const central = centralRecord(name, checksum, bytes);
    const end = endRecord(central.length, at);
    await file.write(Buffer.concat([central, end]), 0, central.length + end.length, at);
    const header = localHeader(name, checksum, bytes);
    await file.write(header, 0, header.length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

function localHeader(name: Buffer, checksum: number, bytes: number): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(20, 4);
  header.writeUInt16LE(firstDate, 12);
  header.writeUInt32LE(checksum, 14);
  header.writeUInt32LE(bytes, 18);
  header.writeUInt32LE(bytes, 22);
  header.writeUInt16LE(name.length, 26);
  return Buffer.concat([header, name]);
}

function centralRecord(name: Buffer, checksum: number, bytes: number): Buffer {
  const record = Buffer.alloc(46);
  record.writeUInt32LE(0x02014b50, 0);
  record.writeUInt16LE(20, 4);
  record.writeUInt16LE(20, 6);
  record.writeUInt16LE(firstDate, 14);
  record.writeUInt32LE(checksum, 16);
  record.writeUInt32LE(bytes, 20);
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
