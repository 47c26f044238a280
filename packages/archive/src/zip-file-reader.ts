import type { FileHandle } from 'node:fs/promises';
import yauzl from 'yauzl';

/**
 * What the parser reads a zip through. The parser's own reader takes any position that a zip names
 * to the file system, where one past 2^53 is an exception that nobody can catch; and it makes two
 * system calls for each entry. This one answers positions outside the file with an error, and keeps
 * the surroundings of the last reads: of one in the directory and of one among the contents, between
 * which an extraction goes back and forth. It does not own the file.
 */
export class ZipFileReader extends yauzl.RandomAccessReader {
  readonly #file: FileHandle;
  /** The one used last comes first. */
  #windows: Window[] = [];

  constructor(file: FileHandle) {
    super();
    this.#file = file;
  }

  /** For the parser. */
  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    this.#lookUp(position, length).then(
      (found) => {
        found.copy(buffer, offset);
        // Not from within the promise, where what the parser throws would be lost.
        process.nextTick(callback, null, length);
      },
      (error: unknown) => process.nextTick(callback, error),
    );
  }

  /** The bytes from `start` up to `end`, which must lie within the file. */
  async *readRange(start: number, end: number): AsyncGenerator<Buffer> {
    if (end - start <= windowBytes) {
      if (end > start) yield await this.#lookUp(start, end - start);
      return;
    }
    for (let at = start; at < end;) {
      const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, end - at));
      const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw outside();
      at += bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
  }

  async #lookUp(position: number, length: number): Promise<Buffer> {
    const known = this.#windows.find((window) => holds(window, position, length));
    const window = known ?? (await this.#load(position, length));
    this.#windows = [window, ...this.#windows.filter((other) => other !== window)].slice(0, 2);
    const from = position - window.start;
    return window.bytes.subarray(from, from + length);
  }

  async #load(position: number, length: number): Promise<Window> {
    if (!Number.isSafeInteger(position)) throw outside();
    const buffer = Buffer.allocUnsafe(Math.max(length, windowBytes));
    const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, position);
    const window = { start: position, bytes: buffer.subarray(0, bytesRead) };
    if (!holds(window, position, length)) throw outside();
    return window;
  }
}

interface Window {
  start: number;
  bytes: Buffer;
}

function holds({ start, bytes }: Window, position: number, length: number): boolean {
  return position >= start && position + length <= start + bytes.length;
}

function outside(): Error {
  return new Error('a position outside the zip');
}

/** Some hundred entries of a directory; little enough to be read for a single local header. */
const windowBytes = 16 * 1024;
const chunkBytes = 64 * 1024;
