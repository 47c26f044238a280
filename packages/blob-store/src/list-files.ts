import { randomUUID } from 'node:crypto';
import { open, opendir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '@inference-server/errors';
import type { ListedFile } from './blob-store.js';

const maxBatch = 500;

/**
 * The files of a folder whose names `isOurs`, in batches of at most 500. One that comes or goes
 * meanwhile may be left out. `now`: the disk's clock (ms), from {@link clockOf}.
 */
export async function* listFiles(
  folder: string,
  { isOurs, now, signal }: { isOurs: (name: string) => boolean; now: number; signal: AbortSignal },
): AsyncGenerator<ListedFile[]> {
  let names: string[] = [];
  for await (const entry of await opendir(folder, { bufferSize: maxBatch })) {
    signal.throwIfAborted();
    if (entry.isFile() && isOurs(entry.name)) names.push(entry.name);
    if (names.length < maxBatch) continue;
    yield await lookAt(folder, names, now);
    names = [];
  }
  if (names.length > 0) yield await lookAt(folder, names, now);
}

/** What the disk of a folder takes for the time (ms): files are old by its clock, not by ours. */
export async function clockOf(folder: string): Promise<number> {
  const path = join(folder, `${randomUUID()}.probe`);
  const probe = await open(path, 'wx', 0o600);
  try {
    return (await probe.stat()).mtimeMs;
  } finally {
    await probe.close();
    await rm(path, { force: true });
  }
}

async function lookAt(
  folder: string,
  names: readonly string[],
  now: number,
): Promise<ListedFile[]> {
  const found = await Promise.all(
    names.map(async (name) => {
      try {
        const { size, mtimeMs } = await stat(join(folder, name));
        return { name, bytes: size, ageMs: now - mtimeMs };
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      }
    }),
  );
  return found.filter((file) => file !== undefined);
}
