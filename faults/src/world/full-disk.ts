import { execFile } from 'node:child_process';
import { rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '@inference-server/errors';

/** A small file system of which a file of ours takes all the room that there is. */
export interface FullDisk {
  readonly file: string;
  /** Takes every byte that is free now. Answers how many those were. */
  takeAll(): Promise<number>;
  /** Gives all of it back; doing it twice is fine. */
  free(): Promise<void>;
}

/** Takes nothing yet. */
export function fullDisk(folder: string): FullDisk {
  const file = join(folder, 'takes-all-room');
  let taken = 0;
  return {
    file,
    async takeAll() {
      const before = taken;
      for (let tries = 0; tries < maxTries; tries += 1) {
        const free = await freeBytes(folder);
        if (free === 0) break;
        const range = ['--offset', String(taken), '--length', String(free), file];
        // All of it or nothing: somebody may have written meanwhile.
        const isTaken = await promisify(execFile)('fallocate', range).then(
          () => true,
          () => false,
        );
        if (isTaken) taken += free;
      }
      return taken - before;
    },
    async free() {
      await rm(file, { force: true });
      taken = 0;
    },
  };
}

export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Whether it has no room for a byte of ours. */
export async function isFull(folder: string): Promise<boolean> {
  const probe = join(folder, 'takes-a-byte');
  try {
    await writeFile(probe, 'x');
    return false;
  } catch (error) {
    if (systemCode(error) === 'ENOSPC') return true;
    throw error;
  } finally {
    await rm(probe, { force: true });
  }
}

const maxTries = 20;
