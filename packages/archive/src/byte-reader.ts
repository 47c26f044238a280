import type { Readable } from 'node:stream';

/** A stream, read in pieces of the lengths that are asked for; one request at a time. */
export interface ByteReader {
  /** At least one byte and at most `most`; undefined at the end of the stream. */
  some(most: number): Promise<Buffer | undefined>;
  /** So many bytes; undefined when the stream ends before. Holds them in memory. */
  exactly(bytes: number): Promise<Buffer | undefined>;
}

/** Rejects with the error of the stream; the caller destroys it. */
export function createByteReader(source: Readable): ByteReader {
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let rest: Buffer = Buffer.alloc(0);
  const some = async (most: number): Promise<Buffer | undefined> => {
    while (rest.length === 0) {
      const next = await chunks.next();
      if (next.done === true) return undefined;
      rest = next.value;
    }
    const piece = rest.subarray(0, most);
    rest = rest.subarray(piece.length);
    return piece;
  };
  return {
    some,
    async exactly(bytes) {
      const pieces: Buffer[] = [];
      for (let left = bytes; left > 0;) {
        const piece = await some(left);
        if (piece === undefined) return undefined;
        pieces.push(piece);
        left -= piece.length;
      }
      return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
    },
  };
}
