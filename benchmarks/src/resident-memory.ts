import { readFileSync } from 'node:fs';

/**
 * The resident memory of a process (MiB). Synchronous: the file is no disk's, and a sample that waits
 * its turn is taken too late.
 */
export function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}
