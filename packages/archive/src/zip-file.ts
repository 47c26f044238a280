import { open, type FileHandle } from 'node:fs/promises';
import { toAppError } from '@inference-server/errors';
import { refuseZip } from './zip-refused.js';

/**
 * The bytes of a zip by their position. Keeps the surroundings of the last two short reads: one in
 * the directory and one among the contents, between which a reader of entries goes back and forth.
 */
export interface ZipFile {
  bytes: number;
  /** Exactly these bytes; ZIP_REFUSED (truncated) when they do not lie in the file. */
  read(position: number, length: number): Promise<Buffer>;
  /** The bytes from `start` up to `end`, in chunks of at most 256 KiB. */
  readRange(start: number, end: number): AsyncGenerator<Buffer>;
  close(): Promise<void>;
}

/** Faults of the file system are INTERNAL. */
export async function openZipFile(path: string): Promise<ZipFile> {
  const file = await asReading(open(path));
  let windows: Window[] = [];

  /** The one used last comes first. */
  async function lookUp(position: number, length: number): Promise<Buffer> {
    const known = windows.find((window) => holds(window, position, length));
    const window = known ?? (await load(file, position, length));
    windows = [window, ...windows.filter((other) => other !== window)].slice(0, 2);
    const from = position - window.start;
    return window.bytes.subarray(from, from + length);
  }

  try {
    const { size } = await asReading(file.stat());
    return {
      bytes: size,
      read: lookUp,
      async *readRange(start, end) {
        if (end - start <= windowBytes) {
          if (end > start) yield await lookUp(start, end - start);
          return;
        }
        for (let at = start; at < end;) {
          const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, end - at));
          const { bytesRead } = await asReading(file.read(chunk, 0, chunk.length, at));
          if (bytesRead === 0) throw refuseZip({ reason: 'truncated', offset: at });
          at += bytesRead;
          yield chunk.subarray(0, bytesRead);
        }
      },
      close: () => asReading(file.close()),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

interface Window {
  start: number;
  bytes: Buffer;
}

function holds({ start, bytes }: Window, position: number, length: number): boolean {
  return position >= start && position + length <= start + bytes.length;
}

async function load(file: FileHandle, position: number, length: number): Promise<Window> {
  // A position that a zip makes up can be past what the file system's interface can say.
  if (!Number.isSafeInteger(position)) throw refuseZip({ reason: 'truncated' });
  const buffer = Buffer.allocUnsafe(Math.max(length, windowBytes));
  let filled = 0;
  while (filled < buffer.length) {
    const rest = buffer.length - filled;
    const { bytesRead } = await asReading(file.read(buffer, filled, rest, position + filled));
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  const window = { start: position, bytes: buffer.subarray(0, filled) };
  if (!holds(window, position, length)) throw refuseZip({ reason: 'truncated', offset: position });
  return window;
}

/** Some hundred entries of a directory; little enough to be read for a single local header. */
const windowBytes = 16 * 1024;
const chunkBytes = 256 * 1024;

async function asReading<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw toAppError(error, 'reading a zip');
  }
}
