import type { Socket } from 'node:net';

/** Writes messages to a socket, one behind the other. */
export interface Writer {
  /**
   * False: what was written before has not gone out, and `onRoom` tells when. Else `onOut` is called once when the
   * message has gone out, or never will.
   */
  write(pieces: () => Iterable<Buffer>, onOut?: () => void): boolean;
  /** Since when nothing has gone out of what waits (performance.now()). */
  waitingSince(): number | undefined;
  /** Ends the connection when all has gone out. */
  end(): void;
  /** Ends it now. */
  cut(): void;
}

/** What waits in the socket before it counts as full. */
const maxWaitingBytes = 64 * 1024;
/** A short message goes out in one piece; of a long one it is seen by pieces that it goes. */
const maxJoinedBytes = 16 * 1024;
const maxPieceBytes = 256 * 1024;

export function openWriter(
  socket: Socket,
  {
    stallMs,
    onRoom,
  }: {
    /** A peer that takes nothing for so long is disconnected, whatever it sends. */
    stallMs: number;
    onRoom: () => void;
  },
): Writer {
  let isLong = false;
  let isEnding = false;
  let isWanted = false;
  let stalled: NodeJS.Timeout | undefined;
  let waitsSince: number | undefined;

  function write(piece: Buffer): Promise<void> {
    const isOut = new Promise<void>((resolve) => {
      // Called of a socket that is destroyed, too.
      socket.write(piece, () => {
        clearTimeout(stalled);
        stalled = undefined;
        waitsSince = undefined;
        watch();
        resolve();
      });
    });
    watch();
    return isOut;
  }

  /** From when something waits on. */
  function watch(): void {
    if (stalled !== undefined || socket.writableLength === 0 || socket.destroyed) return;
    const since = performance.now();
    waitsSince = since;
    stalled = setTimeout(() => {
      // Where this process stood still, it hears only now of what has gone out.
      setImmediate(() => {
        if (waitsSince === since) socket.destroy();
      });
    }, stallMs);
  }

  async function writeLong(pieces: readonly Buffer[]): Promise<void> {
    isLong = true;
    for (const piece of pieces) {
      for (let at = 0; at < piece.length && !socket.destroyed; at += maxPieceBytes) {
        await write(piece.subarray(at, at + maxPieceBytes));
      }
    }
    isLong = false;
    if (isEnding) socket.end();
  }

  function tellOfRoom(): void {
    if (!isWanted || socket.writableLength > maxWaitingBytes) return;
    isWanted = false;
    onRoom();
  }

  return {
    write(piecesOf, onOut = () => undefined) {
      if (isLong || socket.writableEnded || socket.writableLength > maxWaitingBytes) {
        isWanted = true;
        return false;
      }
      const pieces = [...piecesOf()];
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      const isShort = bytes <= maxJoinedBytes;
      const isOut = isShort ? write(Buffer.concat(pieces, bytes)) : writeLong(pieces);
      void isOut.then(onOut).then(tellOfRoom);
      return true;
    },
    waitingSince: () => waitsSince,
    end() {
      isEnding = true;
      if (!isLong) socket.end();
    },
    cut: () => void socket.destroy(),
  };
}
