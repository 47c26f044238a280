import type { Readable } from 'node:stream';
import type { LogLimits, LogTail } from '../container-engine.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';

/** Holds at most twice `maxBytes` in memory, however much the engine has. */
export async function readLogs(
  connection: EngineConnection,
  container: string,
  { maxBytes, maxLines }: LogLimits,
  signal: AbortSignal,
): Promise<LogTail> {
  const { callMs } = connection.deadlines;
  return boundedCall(`logs of ${container}`, callMs, signal, async (abortSignal) => {
    const answer = await dialStream(
      connection,
      {
        method: 'GET',
        path: `/containers/${container}/logs`,
        query: { stdout: '1', stderr: '1', tail: `${maxLines}` },
      },
      abortSignal,
    );
    const stop = () => answer.destroy();
    abortSignal.addEventListener('abort', stop, { once: true });
    try {
      return await tailOf(payloads(answer), { maxBytes, maxLines });
    } finally {
      answer.destroy();
    }
  });
}

async function tailOf(
  chunks: AsyncIterable<Buffer>,
  { maxBytes, maxLines }: LogLimits,
): Promise<LogTail> {
  let kept: Buffer[] = [];
  let bytes = 0;
  let cut = false;
  for await (const chunk of chunks) {
    kept.push(chunk);
    bytes += chunk.length;
    if (bytes <= 2 * maxBytes) continue;
    kept = [Buffer.concat(kept).subarray(-maxBytes)];
    bytes = maxBytes;
    cut = true;
  }
  const all = Buffer.concat(kept);
  const tail = all.subarray(-maxBytes);
  // A character that was cut in two shows as a replacement character: dropped at the start.
  const text = new TextDecoder().decode(tail);
  const wasCut = cut || tail.length < all.length;
  return {
    text: wasCut ? text.replace(/^\uFFFD+/, '') : text,
    cut: wasCut || text.split('\n').length > maxLines,
  };
}

/**
 * Takes the frames of the engine's log stream apart: 1 byte stream, 3 bytes zero, 4 bytes length,
 * payload. Both streams come out as one, in the order in which the engine took them. A payload is passed
 * on as it comes, never put together, and nothing is read before it was asked for.
 */
async function* payloads(source: Readable): AsyncGenerator<Buffer> {
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
}

const headBytes = 8;
