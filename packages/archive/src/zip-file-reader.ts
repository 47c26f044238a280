import type { FileHandle } from 'node:fs/promises';
import yauzl from 'yauzl';

/**
 * What the parser reads the records of a zip through. The parser's own reader takes any position that a zip names
 * to the file system, where one past 2^53 is an exception that nobody can catch; and it makes two
 * system calls for each entry. This one answers positions outside the file with an error, and keeps
 * the surroundings of the last read. It does not own the file.
 */
export class ZipFileReader extends yauzl.RandomAccessReader {
  readonly #file: FileHandle;
  readonly #bytes: number;
  #window = Buffer.alloc(0);
  #windowStart = 0;

  constructor(file: FileHandle, bytes: number) {
    super();
    this.#file = file;
    this.#bytes = bytes;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    this.#readWindow(position, length).then(
      (source) => {
        source.copy(buffer, offset);
        // Not from within the promise, where what the parser throws would be lost.
        process.nextTick(callback, null, length);
      },
      (error: unknown) => process.nextTick(callback, error),
    );
  }

  async #readWindow(position: number, length: number): Promise<Buffer> {
    if (!this.#isWithin(position, length)) {
      const start = Math.max(0, Math.min(position, this.#bytes));
      const window = Buffer.allocUnsafe(Math.max(length, windowBytes));
      const { bytesRead } = await this.#file.read(window, 0, window.length, start);
      this.#window = window.subarray(0, bytesRead);
      this.#windowStart = start;
      if (!this.#isWithin(position, length)) throw new Error('position outside the zip');
    }
    const from = position - this.#windowStart;
    return this.#window.subarray(from, from + length);
  }

  #isWithin(position: number, length: number): boolean {
    const end = this.#windowStart + this.#window.length;
    return position >= this.#windowStart && position + length <= end;
  }
}

/** Some hundred entries of a directory; little enough to be read for a single local header. */
const windowBytes = 16 * 1024;
