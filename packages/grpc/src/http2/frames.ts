import { Http2Error } from './http2-error.js';

/** RFC 9113, section 6. */
export const frameTypes = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const flags = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const headBytes = 9;
/** What either side takes where it says nothing. */
export const usualFrameBytes = 16_384;

export interface Frame {
  type: number;
  flags: number;
  streamId: number;
  payload: Buffer;
}

export interface FrameTaker {
  /** A frame, whole. */
  take(frame: Frame): void;
  /**
   * A piece of a DATA frame that is not padded, as it comes; `isEnd` with the last one of the stream. Of one without
   * bytes the piece is empty.
   */
  takeData(streamId: number, piece: Buffer, isEnd: boolean): void;
}

/** Reads frames out of what comes, whatever pieces it comes in. What it throws, and its taker, ends the connection. */
export function createFrameReader(taker: FrameTaker): (chunk: Buffer) => void {
  const head = Buffer.alloc(headBytes);
  let headHas = 0;
  let type = 0;
  let flagsOf = 0;
  let streamId = 0;
  let left = 0;
  /** Of a frame that did not come in one piece. */
  let parts: Buffer[] = [];

  const isInPieces = () => type === frameTypes.DATA && (flagsOf & flags.PADDED) === 0;

  function readHead(from: Buffer, at: number): void {
    left = from.readUIntBE(at, 3);
    type = from.readUInt8(at + 3);
    flagsOf = from.readUInt8(at + 4);
    streamId = from.readUInt32BE(at + 5) & 0x7fff_ffff;
    if (left > usualFrameBytes) {
      throw new Http2Error('FRAME_SIZE_ERROR', 'a frame of the peer is too large');
    }
    if (left === 0) end(Buffer.alloc(0));
  }

  function end(payload: Buffer): void {
    headHas = 0;
    if (isInPieces()) taker.takeData(streamId, payload, (flagsOf & flags.END_STREAM) !== 0);
    else taker.take({ type, flags: flagsOf, streamId, payload });
  }

  function push(piece: Buffer): void {
    left -= piece.length;
    if (isInPieces()) {
      if (left === 0) end(piece);
      else taker.takeData(streamId, piece, false);
    } else if (left > 0) parts.push(piece);
    else if (parts.length === 0) end(piece);
    else {
      const whole = Buffer.concat([...parts, piece]);
      parts = [];
      end(whole);
    }
  }

  return (chunk) => {
    for (let at = 0; at < chunk.length;) {
      if (headHas === 0 && chunk.length - at >= headBytes) {
        headHas = headBytes;
        readHead(chunk, at);
        at += headBytes;
      } else if (headHas < headBytes) {
        const copied = chunk.copy(head, headHas, at, at + headBytes - headHas);
        [headHas, at] = [headHas + copied, at + copied];
        if (headHas === headBytes) readHead(head, 0);
      } else {
        const piece = chunk.subarray(at, at + left);
        at += piece.length;
        push(piece);
      }
    }
  };
}

/** The head of a frame, with room for `payloadBytes` behind it in the same buffer. */
export function beginFrame(
  type: number,
  flagsOf: number,
  streamId: number,
  length: number,
  payloadBytes = 0,
): Buffer {
  const frame = Buffer.allocUnsafe(headBytes + payloadBytes);
  frame.writeUIntBE(length, 0, 3);
  frame.writeUInt8(type, 3);
  frame.writeUInt8(flagsOf, 4);
  frame.writeUInt32BE(streamId, 5);
  return frame;
}

/** A frame whose payload is numbers of 32 bits. */
export function frameOfNumbers(type: number, streamId: number, ...numbers: number[]): Buffer {
  const frame = beginFrame(type, 0, streamId, 4 * numbers.length, 4 * numbers.length);
  numbers.forEach((number, n) => frame.writeUInt32BE(number, headBytes + 4 * n));
  return frame;
}

/** What a frame holds without what fills it up, and without a priority. */
export function contentOfFrame({ type, flags: flagsOf, payload }: Frame): Buffer {
  const isPadded = (flagsOf & flags.PADDED) !== 0;
  const hasPriority = type === frameTypes.HEADERS && (flagsOf & flags.PRIORITY) !== 0;
  const from = (isPadded ? 1 : 0) + (hasPriority ? 5 : 0);
  const to = payload.length - (isPadded ? (payload[0] ?? 0) : 0);
  if (to < from) throw new Http2Error('PROTOCOL_ERROR', 'a frame of the peer is all padding');
  return payload.subarray(from, to);
}
