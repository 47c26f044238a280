import { createHash, randomUUID } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { AppError, toAppError } from '@inference-server/errors';
import type { ReceivedFile } from './blob-store.js';
import type { SpaceReservation } from './staging-space.js';

export interface ReceiveOptions {
  folder: string;
  maxBytes: number;
  signal: AbortSignal;
  /** The file's name without `.part`; a random UUID when absent. */
  name?: string;
  /** What the file may take of the disk; unaccounted when absent. Released by whoever reserved it. */
  space?: SpaceReservation | undefined;
  /**
   * Brings the bytes to the disk while they come; for a file that a store will flush. Gibibytes that
   * are flushed at once hold up every other flush: posts of small zips beside the end of an upload of
   * 1 GiB had a p99 of 374 ms, and have one of 27 ms with this.
   */
  flush?: boolean;
}

type WriteOptions = Pick<ReceiveOptions, 'maxBytes' | 'space' | 'flush'>;

const flushEveryBytes = 32 * 1024 ** 2;

/**
 * Streams `source` into `<folder>/<name>.part` and takes its SHA-256 on the way. Its end is not
 * flushed: the store does that when it takes the file over. How long the source may be silent is its own matter.
 *
 * Whatever fails, no file is left: more than `maxBytes` is PAYLOAD_TOO_LARGE, a source that ends
 * early MALFORMED_REQUEST, a full disk STORAGE_FULL; an abort throws the signal's reason; an AppError
 * of the source passes as it is. An abort destroys the source; otherwise what is left of it stays with
 * the caller, who may have an answer to send on the same connection.
 */
export async function receiveFile(
  source: Readable,
  { folder, signal, name = randomUUID(), ...options }: ReceiveOptions,
): Promise<ReceivedFile> {
  const path = join(folder, `${name}.part`);
  const stop = () => source.destroy();
  // Until the file is open nobody else listens, and an error without a listener ends the process.
  const ignore = () => undefined;
  signal.addEventListener('abort', stop, { once: true });
  source.on('error', ignore);
  try {
    if (signal.aborted) stop();
    signal.throwIfAborted();
    const file = await asWriting(open(path, 'wx', 0o600));
    return { path, ...(await fill(file, path, source, options)) };
  } catch (error) {
    throw whyNotReceived(error, signal);
  } finally {
    source.off('error', ignore);
    signal.removeEventListener('abort', stop);
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

/** Closes the file, and removes it when it cannot be filled. */
async function fill(
  file: FileHandle,
  path: string,
  source: Readable,
  options: WriteOptions,
): Promise<Omit<ReceivedFile, 'path'>> {
  try {
    try {
      return await writeAll(source, file, options);
    } finally {
      await asWriting(file.close());
    }
  } catch (error) {
    await asWriting(rm(path, { force: true }));
    throw error;
  }
}

/** The next chunk is taken when the last is written, or flushed: a slow disk slows the source down. */
async function writeAll(
  source: Readable,
  file: FileHandle,
  { maxBytes, space, flush = false }: WriteOptions,
): Promise<Omit<ReceivedFile, 'path'>> {
  const hash = createHash('sha256');
  let bytes = 0;
  let flushedBytes = 0;
  let flushing: Promise<void> | undefined;
  for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new AppError('PAYLOAD_TOO_LARGE', `The upload is larger than ${maxBytes} bytes.`);
    }
    await space?.cover(bytes);
    const written = asWriting(file.appendFile(chunk));
    hash.update(chunk); // while the disk is busy
    await written;
    space?.wrote(bytes);
    if (flush && bytes - flushedBytes >= flushEveryBytes) {
      await flushing;
      flushedBytes = bytes;
      flushing = asWriting(file.datasync());
      flushing.catch(() => undefined); // until it is awaited
    }
  }
  await flushing;
  return { bytes, sha256: hash.digest('hex') };
}

/** Sets what goes wrong with the file apart from what goes wrong with the source. */
async function asWriting<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw toAppError(error, 'writing a received file');
  }
}

function whyNotReceived(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof AppError) return error;
  return new AppError('MALFORMED_REQUEST', 'The upload ended before it was complete.', {
    cause: error,
  });
}
