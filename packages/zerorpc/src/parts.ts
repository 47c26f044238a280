import type { PartRoom } from './part-room.js';

/** What has come of a connection, until its reader asks for it. */
export interface Parts {
  push(chunk: Buffer): void;
  /** Gives the reader what it waits for. Else it is not there whole, and there may be no room for what there is. Throws what the reader throws. */
  next(): 'given' | 'missing' | 'full';
  /** What the reader has of a message that is not there whole. */
  keep(bytes: number): void;
  isHalf(): boolean;
  drop(): void;
}

/** Of what is not there whole so much takes nothing of the room. */
const freeBytes = 4 * 1024;
/** What a chunk takes beside its bytes. */
const chunkBytes = 128;
/** What is as short as that is copied: it would keep all that came with it. */
const maxCopiedBytes = 16 * 1024;

/** Gives a reader, which yields how many bytes it wants, the parts it asks for out of chunks as they come. */
export function joinParts(reader: Generator<number, void, Buffer>, room: PartRoom): Parts {
  let wanted = reader.next().value ?? 0;
  let chunks: Buffer[] = [];
  let have = 0;
  let kept = 0;

  const excess = () => Math.max(have + kept + chunks.length * chunkBytes - freeBytes, 0);

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
    },
    next() {
      if (have >= wanted) {
        wanted = reader.next(take(wanted)).value ?? 0;
        return 'given';
      }
      const [only, ...others] = chunks;
      if (only !== undefined && others.length === 0 && have <= maxCopiedBytes) {
        chunks = [Buffer.from(only)];
      }
      return room.hold(excess()) ? 'missing' : 'full';
    },
    keep(bytes) {
      kept = bytes;
      // What is made of a message that is whole counts by itself.
      room.hold(Math.min(excess(), room.held()));
    },
    isHalf: () => have > 0 || kept > 0,
    drop() {
      room.hold(0);
      chunks = [];
      have = 0;
    },
  };
}
