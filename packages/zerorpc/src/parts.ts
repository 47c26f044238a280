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
/** A part as short as that is copied: it would keep all that came with it. */
const maxCopiedBytes = 16 * 1024;

/** Gives a reader, which yields how many bytes it wants, the parts it asks for out of chunks as they come. */
export function joinParts(reader: Generator<number, void, Buffer>, room: PartRoom): Parts {
  let wanted = reader.next().value ?? 0;
  let chunks: Buffer[] = [];
  let have = 0;
  let kept = 0;

  const excess = () => Math.max(have + kept + chunks.length * chunkBytes - freeBytes, 0);

  return {
    push(chunk) {
      chunks.push(chunk);
      have += chunk.length;
    },
    next() {
      if (have < wanted) return room.hold(excess()) ? 'missing' : 'full';
      const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, have);
      const whole = all.subarray(0, wanted);
      const part = wanted > maxCopiedBytes ? whole : Buffer.from(whole);
      have -= wanted;
      chunks = have > 0 ? [all.subarray(wanted)] : [];
      // What the reader makes of it counts by itself.
      room.hold(Math.min(excess(), room.held()));
      wanted = reader.next(part).value ?? 0;
      return 'given';
    },
    keep: (bytes) => void (kept = bytes),
    isHalf: () => have > 0 || kept > 0,
    drop() {
      room.hold(0);
      chunks = [];
      have = 0;
    },
  };
}
