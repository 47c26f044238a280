import type { Socket } from 'node:net';
import { lengthOf } from '../framing.js';
import { beginFrame, flags, frameTypes, headBytes, usualFrameBytes } from './frames.js';
import { Http2Error } from './http2-error.js';
import { maxWindowBytes, type PeerSettings } from './settings.js';

/** The body of a request on its way out. */
export interface Outgoing {
  id: number;
  parts: readonly Buffer[];
  /** Where in `parts` the next byte is. */
  part: number;
  at: number;
  left: number;
  /** What the peer still takes of it. */
  window: number;
}

/** What goes out on one connection: what is written while the system is heard goes in one go, and bodies by turns. */
export interface Sender {
  write(frame: Buffer): void;
  /** What was written goes out now. */
  flush(): void;
  outgoing(body: readonly Buffer[]): Outgoing;
  begin(id: number, headers: Buffer, outgoing: Outgoing): void;
  /** The peer takes so many bytes more. Throws Http2Error where that is beyond all there may be. */
  grow(outgoing: Outgoing, bytes: number): void;
  growSession(bytes: number): void;
  /** Sends what may go out. */
  pump(): void;
  isUnsent(outgoing: Outgoing): boolean;
  /** Whether the system takes more. */
  isFree(): boolean;
  /** Nothing more of it goes out. */
  drop(outgoing: Outgoing): void;
  close(): void;
}

/** Small bodies are copied behind their headers: that costs less than another write. */
const copiedBytes = 16 * 1024 - headBytes;
/** So much is written ahead of what the system takes. */
const writtenAheadBytes = 256 * 1024;

export function createSender(socket: Socket, peer: PeerSettings): Sender {
  const unsent = new Set<Outgoing>();
  let sessionWindow = 65_535;
  let isCorked = false;
  let isClosed = false;

  function write(frame: Buffer): void {
    if (isClosed || socket.destroyed) return;
    if (!isCorked) {
      isCorked = true;
      socket.cork();
      setImmediate(flush);
    }
    socket.write(frame);
  }

  function flush(): void {
    if (isCorked) socket.uncork();
    isCorked = false;
  }

  const isFree = () => socket.writableLength < writtenAheadBytes;

  function pump(): void {
    for (const outgoing of unsent) {
      if (sessionWindow <= 0 || socket.destroyed || !isFree()) return;
      if (outgoing.window <= 0) continue;
      // Its next turn is after that of all others.
      unsent.delete(outgoing);
      sendFrame(outgoing);
      if (outgoing.left > 0) unsent.add(outgoing);
    }
  }

  function sendFrame(outgoing: Outgoing): void {
    const most = Math.min(outgoing.window, sessionWindow, peer.maxFrameBytes(), outgoing.left);
    const bytes = Math.min(most, usualFrameBytes);
    const isLast = bytes === outgoing.left;
    write(beginFrame(frameTypes.DATA, isLast ? flags.END_STREAM : 0, outgoing.id, bytes));
    for (let left = bytes; left > 0;) {
      const part = outgoing.parts[outgoing.part];
      if (part === undefined) throw new Error('a body is shorter than it was');
      const piece = part.subarray(outgoing.at, outgoing.at + left);
      if (piece.length > 0) write(piece);
      left -= piece.length;
      outgoing.at += piece.length;
      if (outgoing.at === part.length) [outgoing.part, outgoing.at] = [outgoing.part + 1, 0];
    }
    count(outgoing, bytes);
  }

  function count(outgoing: Outgoing, bytes: number): void {
    outgoing.left -= bytes;
    outgoing.window -= bytes;
    sessionWindow -= bytes;
  }

  /** The frames of a block, and the body with them where it is small and may go out whole. */
  function begin(id: number, headers: Buffer, outgoing: Outgoing): void {
    outgoing.id = id;
    outgoing.window = peer.streamWindow();
    const { left: bytes } = outgoing;
    const goesAlong =
      bytes <= copiedBytes &&
      headers.length <= usualFrameBytes &&
      bytes <= Math.min(outgoing.window, sessionWindow);
    if (!goesAlong) {
      writeHeaders(id, headers);
      unsent.add(outgoing);
      pump();
      return;
    }
    const { length } = headers;
    const room = length + headBytes + bytes;
    const both = beginFrame(frameTypes.HEADERS, flags.END_HEADERS, id, length, room);
    let at = headBytes + headers.copy(both, headBytes);
    at += beginFrame(frameTypes.DATA, flags.END_STREAM, id, bytes).copy(both, at);
    for (const part of outgoing.parts) at += part.copy(both, at);
    count(outgoing, bytes);
    write(both);
  }

  function writeHeaders(id: number, headers: Buffer): void {
    let type: number = frameTypes.HEADERS;
    for (let at = 0; at < headers.length; at += usualFrameBytes) {
      const part = headers.subarray(at, at + usualFrameBytes);
      const isLast = at + part.length === headers.length;
      write(beginFrame(type, isLast ? flags.END_HEADERS : 0, id, part.length));
      write(part);
      type = frameTypes.CONTINUATION;
    }
  }

  return {
    ...{ write, flush, begin, pump, isFree },
    outgoing: (parts) => ({ id: 0, parts, part: 0, at: 0, left: lengthOf(parts), window: 0 }),
    grow(outgoing, bytes) {
      outgoing.window = grown(outgoing.window, bytes);
    },
    growSession(bytes) {
      sessionWindow = grown(sessionWindow, bytes);
    },
    isUnsent: (outgoing) => unsent.has(outgoing),
    drop: (outgoing) => void unsent.delete(outgoing),
    close() {
      isClosed = true;
      unsent.clear();
    },
  };
}

function grown(window: number, bytes: number): number {
  if (window + bytes <= maxWindowBytes) return window + bytes;
  throw new Http2Error('FLOW_CONTROL_ERROR', 'the peer grants more than there may be');
}
