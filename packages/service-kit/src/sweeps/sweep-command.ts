import { messageOf } from '@inference-server/errors';
import { reportSweeps, runSweeps } from './report.js';
import type { Sweep } from './sweep.js';

/**
 * What a sweep command does, to its end: every sweep once, or, with `--dry-run` as its only argument,
 * a look at what would go. The table is written to standard output. Exit code 2: another argument;
 * 1: a sweep failed, or SIGINT or SIGTERM ended it, within a step; then the table is of what was done
 * so far.
 */
export async function runSweepCommand(
  args: readonly string[],
  open: (signal: AbortSignal) => Promise<{ sweeps: readonly Sweep[]; close(): Promise<void> }>,
): Promise<void> {
  const [option, ...others] = args;
  if (others.length > 0 || (option !== undefined && option !== '--dry-run')) {
    process.stderr.write('sweep takes one option: --dry-run\n');
    process.exitCode = 2;
    return;
  }
  const stopping = new AbortController();
  for (const end of ['SIGINT', 'SIGTERM'] as const) {
    process.on(end, () => stopping.abort(new Error(`it was ended by ${end}`)));
  }
  try {
    const { sweeps, close } = await open(stopping.signal);
    try {
      const go = option === '--dry-run' ? reportSweeps : runSweeps;
      await go(sweeps, (table) => process.stdout.write(table), stopping.signal);
    } finally {
      await close();
    }
  } catch (error) {
    process.stderr.write(`sweep failed: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
