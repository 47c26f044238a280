import { readdir, readlink } from 'node:fs/promises';

/** The files below `folder` that a process holds open; default: this one. */
export async function openFilesBelow(
  folder: string,
  pid: number | 'self' = 'self',
): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(
    descriptors.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')),
  );
  return targets.filter((target) => target.startsWith(folder));
}
