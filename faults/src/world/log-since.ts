import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The lines that the logs of these (names in the world) gain from now on and that have this in them. */
export async function linesSince(
  folder: string,
  names: readonly string[],
  pattern: RegExp,
): Promise<() => Promise<string[]>> {
  const logs: { file: string; from: number }[] = [];
  for (const name of names) {
    const file = join(folder, `${name}.log`);
    const there = await stat(file).catch(() => undefined);
    logs.push({ file, from: there?.size ?? 0 });
  }
  return async () => {
    const found: string[] = [];
    for (const { file, from } of logs) {
      const lines = (await readFrom(file, from)).split('\n');
      found.push(...lines.filter((line) => pattern.test(line)));
    }
    return found;
  };
}

async function readFrom(file: string, from: number): Promise<string> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(Math.max(size - from, 1)),
      position: from,
    });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}
