import type { PartRoom } from './part-room.js';

/** What has come of a connection, until its reader asks for it. */
export interface Parts {
  push(chunk: Buffer): void;
  /** Gives the reader what it waits for. Else it is not there whole, and there may be no room for it. Throws what the reader throws. */
  next(): 'given' | 'missing' | 'full';
  /** The message, counted from the first on, of which something has come and not all; undefined between two. */
  amid(): number | undefined;
  drop(): void;
}

/** So much of what is not there whole takes nothing of the room. */
const freeBytes = 4 * 1024;
/** What a chunk takes beside its bytes; and how much more than the bytes those of one connection may take. */
const chunkBytes = 128;
const spareBytes = 4 * 1024;
/** What is as short as that is copied: it would keep all that came with it. */
const maxCopiedBytes = 16 * 1024;
const nothing = Buffer.alloc(0);

/**
 * Gives a reader, which yields how many bytes it wants, the parts it asks for out of chunks as they come. It yields 0,
 * and is given nothing, where one message is at its end and the next has not begun.
 */
export function joinParts(reader: Generator<number, void, Buffer>, room: PartRoom): Parts {
  let wanted = reader.next().value ?? 0;
  let chunks: Buffer[] = [];
  let have = 0;
  let begun = 0;
  let isCopied = false;

  /** Out of the chunks, which have as much. */
  function take(bytes: number): Buffer {
    let count = 0;
    let there = 0;
    while (there < bytes) {
      there += chunks[count]?.length ?? 0;
      count += 1;
    }
    const taken = chunks.splice(0, count);
    const last = taken.at(-1);
    if (last !== undefined && there > bytes) {
      const end = last.length - (there - bytes);
      taken[count - 1] = last.subarray(0, end);
      chunks.unshift(last.subarray(end));
    }
    have -= bytes;
    return taken.length === 1 && bytes > maxCopiedBytes
      ? (taken[0] as Buffer)
      : Buffer.concat(taken, bytes);
  }

  return {
    push(chunk) {
      chunks.push(chunk);
      have += chunk.length;
      isCopied = false;
      if (chunks.length * chunkBytes > have + spareBytes) chunks = [Buffer.concat(chunks, have)];
    },
    next() {
      if (wanted === 0) {
        if (have === 0) return 'missing';
        begun += 1;
        wanted = reader.next(nothing).value ?? 0;
      }
      if (have >= wanted) {
        const part = take(wanted);
        // What is made of it counts by itself.
        room.release();
        wanted = reader.next(part).value ?? 0;
        return 'given';
      }
      if (chunks.length === 1 && have <= maxCopiedBytes && !isCopied) {
        chunks = [Buffer.from(chunks[0] as Buffer)];
        isCopied = true;
      }
      return room.hold(Math.max(have - freeBytes, 0), wanted) ? 'missing' : 'full';
    },
    amid: () => (wanted > 0 && begun > 0 ? begun : undefined),
    drop() {
      room.release();
      chunks = [];
      have = 0;
    },
  };
}
