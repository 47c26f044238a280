import type { FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import type { Entry, ZipFile } from 'yauzl';

/** The bytes of an entry, inflated; nothing about them is checked but that they lie in the file. */
export async function* readContent(
  file: FileHandle,
  zip: ZipFile,
  entry: Entry,
): AsyncGenerator<Buffer> {
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
  const packed = readRange(file, fileDataStart, fileDataStart + entry.compressedSize);
  yield* entry.compressionMethod === deflated ? inflate(packed) : packed;
}

const deflated = 8;

async function* readRange(file: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, end - at));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
    if (bytesRead === 0) throw new Error('the file became shorter while it was read');
    at += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

async function* inflate(packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const inflated = createInflateRaw({ chunkSize: chunkBytes });
  // What goes wrong while feeding destroys the stream and so is thrown by the loop.
  const feeding = pipeline(packed, inflated).catch(() => undefined);
  try {
    yield* inflated as AsyncIterable<Buffer>;
  } finally {
    inflated.destroy();
    await feeding;
  }
}

const chunkBytes = 64 * 1024;
