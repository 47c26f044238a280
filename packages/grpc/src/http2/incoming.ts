import { Http2Error } from './http2-error.js';
import { streamWindowBytes } from './settings.js';

/** The body of a response on its way in, read no faster than it is wanted. */
export interface Incoming {
  /** Counts bytes that came. Throws Http2Error where the peer sends more than it may. */
  count(bytes: number): void;
  /** Bytes that came are no data. */
  skip(bytes: number): void;
  take(piece: Buffer): void;
  /** The peer has said all. */
  end(): void;
  resume(): void;
  /** Nothing more is wanted. */
  drop(): void;
}

/** Each takes far more memory than its bytes where it has few: a window of pieces of 256 bytes. */
const maxHeldPieces = streamWindowBytes / 256;
/** A peer that ends its data with one is usual. */
const maxEmptyPieces = 1_000;

export function createIncoming({
  data,
  grant,
  onEnd,
}: {
  /** False: no more is wanted before `resume`. */
  data: (piece: Buffer) => boolean;
  /** Tells the peer that it may send so much more. */
  grant: (bytes: number) => void;
  /** Called once, when everything was taken. */
  onEnd: () => void;
}): Incoming {
  let window = streamWindowBytes;
  /** What was taken since the peer was last told of it. */
  let taken = 0;
  let isPaused = false;
  let hasEnded = false;
  let isOver = false;
  /** Came while it was paused: no more than a window. */
  let held: Buffer[] = [];
  let emptyPieces = 0;

  /** Whether more is wanted. */
  function deliver(piece: Buffer): boolean {
    taken += piece.length;
    isPaused = !data(piece);
    if (!isPaused) grantTaken();
    return !isPaused && !isOver;
  }

  function grantTaken(): void {
    if (taken < streamWindowBytes / 2 || hasEnded || isOver) return;
    const bytes = taken;
    [window, taken] = [window + bytes, 0];
    grant(bytes);
  }

  function finish(): void {
    if (isOver) return;
    isOver = true;
    onEnd();
  }

  return {
    count(bytes) {
      window -= bytes;
      if (window < 0) throw new Http2Error('FLOW_CONTROL_ERROR', 'the peer sends more than it may');
    },
    skip(bytes) {
      taken += bytes;
      if (!isPaused) grantTaken();
    },
    take(piece) {
      if (piece.length === 0) emptyPieces += 1;
      else if (!isPaused) deliver(piece);
      else held.push(kept(piece));
      if (held.length > maxHeldPieces || emptyPieces > maxEmptyPieces) {
        throw new Http2Error('ENHANCE_YOUR_CALM', 'the peer sends too small pieces');
      }
    },
    end() {
      hasEnded = true;
      // Whoever has enough for the moment may have had all.
      if (held.length === 0) finish();
    },
    resume() {
      if (!isPaused || isOver) return;
      isPaused = false;
      const pieces = held;
      held = [];
      for (const [n, piece] of pieces.entries()) {
        if (deliver(piece)) continue;
        held = pieces.slice(n + 1);
        return;
      }
      grantTaken();
      if (hasEnded) finish();
    },
    drop() {
      isOver = true;
      held = [];
    },
  };
}

/** A small piece is not to keep all that came with it. */
function kept(piece: Buffer): Buffer {
  return 4 * piece.length < piece.buffer.byteLength ? Buffer.from(piece) : piece;
}
