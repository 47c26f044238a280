import { open } from 'node:fs/promises';
import { systemCode } from '@inference-server/errors';

/** The last lines of a log: at most `maxLines` out of its last 16 KiB. Empty without a file. */
export async function readLogTail(path: string, maxLines = 20): Promise<string> {
  const maxBytes = 16 * 1024;
  let file;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  }
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes, start);
    const lines = buffer.subarray(0, bytesRead).toString('utf8').trimEnd().split('\n');
    return lines.slice(-maxLines).join('\n');
  } finally {
    await file.close();
  }
}
