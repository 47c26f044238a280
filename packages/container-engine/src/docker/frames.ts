import type { Readable } from 'node:stream';
import { EngineError } from '../engine-error.js';

/**
 * Takes the frames of the engine's log stream apart: 1 byte stream, 3 bytes zero, 4 bytes length,
 * payload. Both streams come out as one, in the order in which the engine took them. A payload is passed
 * on as it comes, never put together, and nothing is read before it was asked for. Throws `unreachable`
 * for one that ends inside a frame.
 */
export async function* payloads(source: Readable): AsyncGenerator<Buffer> {
  let head = Buffer.alloc(0);
  let left = 0;
  for await (const part of source) {
    let chunk = part as Buffer;
    while (chunk.length > 0) {
      if (left === 0) {
        const missing = headBytes - head.length;
        head = Buffer.concat([head, chunk.subarray(0, missing)]);
        chunk = chunk.subarray(missing);
        if (head.length < headBytes) continue;
        left = head.readUInt32BE(4);
        head = Buffer.alloc(0);
      } else {
        const payload = chunk.subarray(0, left);
        chunk = chunk.subarray(payload.length);
        left -= payload.length;
        yield payload;
      }
    }
  }
  if (left > 0 || head.length > 0) {
    throw new EngineError('unreachable', "The engine's answer was cut short.");
  }
}

const headBytes = 8;
