import { addAbortSignal, PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/**
 * What a generator gives as a stream, which ends with the generator's error, or an AbortError.
 * `Readable.from` would throw the error of a destroyed stream into the generator, where it looks
 * like one of what the generator reads.
 */
export function readableOf(chunks: AsyncIterable<Buffer>, signal: AbortSignal): Readable {
  const stream = addAbortSignal(signal, new PassThrough({ highWaterMark: bufferedBytes }));
  // The stream's reader gets the same error.
  pipeline(chunks, stream).catch(() => undefined);
  return stream;
}

const bufferedBytes = 64 * 1024;
