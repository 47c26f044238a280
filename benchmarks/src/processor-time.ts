import { readFileSync } from 'node:fs';

/** The processor time that the processes have used since they started, together (ms). */
export function processorMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + processorTicks(pid), 0) * msPerTick;
}

/** Linux counts in hundredths of a second, whatever the kernel's own clock does. */
const msPerTick = 10;

function processorTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the command in parentheses and may itself hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
