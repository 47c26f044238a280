import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import type { Entry, ZipFile } from 'yauzl';
import type { ZipFileReader } from './zip-file-reader.js';

/** The bytes of an entry, inflated; nothing about them is checked but that they lie in the file. */
export async function* readContent(
  reader: ZipFileReader,
  zip: ZipFile,
  entry: Entry,
): AsyncGenerator<Buffer> {
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
  const packed = reader.readRange(fileDataStart, fileDataStart + entry.compressedSize);
  yield* entry.compressionMethod === deflated ? inflate(packed) : packed;
}

const deflated = 8;

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
