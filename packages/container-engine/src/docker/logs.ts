import type { LogLimits, LogTail } from '../container-engine.js';
import { boundedCall, dialStream, type EngineConnection } from './connection.js';
import { payloads } from './frames.js';

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
