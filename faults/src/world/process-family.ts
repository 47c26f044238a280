import { readdir, readFile } from 'node:fs/promises';

/** The process and all that it has started, and they, and so on: the oldest first. */
export async function familyOf(pid: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    const child = Number(name);
    if (!Number.isInteger(child)) continue;
    const stat = await readFile(`/proc/${child}/stat`, 'utf8').catch(() => undefined);
    // The second field is the command in brackets, which may hold anything.
    const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined) parents.set(child, Number(parent));
  }
  const family = [pid];
  for (const member of family) {
    for (const [child, parent] of parents) if (parent === member) family.push(child);
  }
  return family;
}

/** Sends a signal to all of them; to those that have ended meanwhile nothing happens. */
export async function signalFamily(pid: number, signal: NodeJS.Signals): Promise<number[]> {
  const family = await familyOf(pid);
  for (const member of family) {
    try {
      process.kill(member, signal);
    } catch {
      // It has ended.
    }
  }
  return family;
}

/** Whether the process stands still (SIGSTOP). */
export async function isStopped(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
}
