import { GrpcError } from './grpc-error.js';

/** A byte that says whether the message is compressed, and its length in four. */
export const prefixBytes = 5;

export function prefixOf(messageBytes: number): Buffer {
  const prefix = Buffer.allocUnsafe(prefixBytes);
  prefix.writeUInt8(0, 0);
  prefix.writeUInt32BE(messageBytes, 1);
  return prefix;
}

export function lengthOf(parts: readonly Buffer[]): number {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  return bytes;
}

/** Where a message goes while it comes. `write` says false when it wants no more before `drain`. */
export interface MessageSink {
  write(chunk: Buffer): boolean;
  once(event: 'drain', listener: () => void): unknown;
}

export interface MessageTaker {
  /**
   * Called with the length that a message says it has, before any memory is taken for it. Throws to refuse
   * it. A sink takes the bytes as they come; undefined: the message is put together, for `take`.
   */
  begin(messageBytes: number, isCompressed: boolean): MessageSink | undefined;
  /** Called with what has come of a message that is put together, before it is kept. Throws to refuse it. */
  grow?(bytes: number): void;
  take(message: Buffer, isCompressed: boolean): void;
}

/** Reads the messages of a stream of bytes, whatever pieces they come in. */
export interface MessageReader {
  /** A sink that has enough for the moment; undefined: go on. Throws what `begin` throws. */
  push(chunk: Buffer): MessageSink | undefined;
  /** Whether a message has begun and not ended. */
  isWithin(): boolean;
}

export function createMessageReader(taker: MessageTaker): MessageReader {
  const prefix = Buffer.alloc(prefixBytes);
  let prefixHas = 0;
  let isCompressed = false;
  /** Of the message that has begun: what is to come of it. */
  let left = 0;
  let message: Buffer | undefined;
  let sink: MessageSink | undefined;

  function begin(): void {
    const flag = prefix.readUInt8(0);
    if (flag > 1) throw new GrpcError('INTERNAL', 'A message begins with bytes that are none.');
    isCompressed = flag === 1;
    left = prefix.readUInt32BE(1);
    sink = taker.begin(left, isCompressed);
    // In one piece, and of its own: pages of it that nothing was written to take no memory.
    if (sink === undefined) message = bufferOf(left);
  }

  function endIfWhole(): void {
    if (prefixHas < prefixBytes || left > 0) return;
    const whole = message;
    [prefixHas, message, sink] = [0, undefined, undefined];
    if (whole !== undefined) taker.take(whole, isCompressed);
  }

  return {
    push(chunk) {
      let full: MessageSink | undefined;
      for (let at = 0; at < chunk.length;) {
        if (prefixHas < prefixBytes) {
          const copied = chunk.copy(prefix, prefixHas, at, at + prefixBytes - prefixHas);
          [prefixHas, at] = [prefixHas + copied, at + copied];
          if (prefixHas < prefixBytes) return full;
          begin();
        } else {
          const piece = chunk.subarray(at, at + left);
          if (sink === undefined) {
            taker.grow?.(piece.length);
            message?.set(piece, message.length - left);
          } else {
            full = sink.write(piece) ? undefined : sink;
          }
          [left, at] = [left - piece.length, at + piece.length];
        }
        endIfWhole();
      }
      return full;
    },
    isWithin: () => prefixHas > 0,
  };
}

/** Small ones share memory with each other, which is as soon free as the last of them. */
function bufferOf(bytes: number): Buffer {
  return bytes < 2_048 ? Buffer.allocUnsafe(bytes) : Buffer.allocUnsafeSlow(bytes);
}
