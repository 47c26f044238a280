import { createHash, randomUUID, type Hash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, systemCode, toAppError } from '@inference-server/errors';
import type { ReceivedFile } from './blob-store.js';

export interface ReceiveOptions {
  folder: string;
  maxBytes: number;
  signal: AbortSignal;
  /** The file's name without `.part`; a random UUID when absent. */
  name?: string;
}

/**
 * Streams `source` into `<folder>/<name>.part` and takes its SHA-256 on the way. Not flushed: the
 * store does that when it takes the file over. Whatever fails, no file is left: more than
 * `maxBytes` is PAYLOAD_TOO_LARGE, a source that ends early MALFORMED_REQUEST, a full disk
 * STORAGE_FULL; an abort throws the signal's reason; an AppError of the source passes as it is.
 */
export async function receiveFile(
  source: Readable,
  { folder, maxBytes, signal, name = randomUUID() }: ReceiveOptions,
): Promise<ReceivedFile> {
  const path = join(folder, `${name}.part`);
  const hash = createHash('sha256');
  const count = { bytes: 0 };
  let created = false;
  try {
    signal.throwIfAborted();
    const file = await open(path, 'wx', 0o600);
    created = true;
    try {
      await pipeline(
        source,
        (chunks: AsyncIterable<Buffer>) => measure(chunks, hash, count, maxBytes),
        file.createWriteStream({ highWaterMark: writeBufferBytes }),
        { signal },
      );
    } finally {
      await file.close();
    }
    return { path, bytes: count.bytes, sha256: hash.digest('hex') };
  } catch (error) {
    source.destroy();
    if (created) await rm(path, { force: true });
    throw whyNotReceived(error, source, signal);
  }
}

/** Removes a received file that nobody took over. One that is gone already is fine. */
export async function discardFile(file: ReceivedFile): Promise<void> {
  try {
    await rm(file.path, { force: true });
  } catch (error) {
    throw toAppError(error, 'removing a received file');
  }
}

/** Lets hashing go on while a write is in hand; what a slow disk makes pile up. */
const writeBufferBytes = 1024 * 1024;

async function* measure(
  chunks: AsyncIterable<Buffer>,
  hash: Hash,
  count: { bytes: number },
  maxBytes: number,
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    count.bytes += chunk.length;
    if (count.bytes > maxBytes) {
      throw new AppError('PAYLOAD_TOO_LARGE', `The upload is larger than ${maxBytes} bytes.`);
    }
    hash.update(chunk);
    yield chunk;
  }
}

function whyNotReceived(error: unknown, source: Readable, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof AppError) return error;
  if (error === source.errored || systemCode(error) === 'ERR_STREAM_PREMATURE_CLOSE') {
    return new AppError('MALFORMED_REQUEST', 'The upload ended before it was complete.', {
      cause: error,
    });
  }
  return toAppError(error, 'receiving a file');
}
