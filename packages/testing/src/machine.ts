import { execFile } from 'node:child_process';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** What the figures were taken on. */
export interface Machine {
  cores: number;
  processor: string;
  memoryMib: number;
  /** Of the minute before the first benchmark: what else was going on. */
  load: number;
  kernel: string;
  node: string;
  /** Null outside a git checkout. `+` at its end: with changes. */
  commit: string | null;
}

export async function describeMachine(
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Machine> {
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? 'unknown',
    memoryMib: Math.round(totalmem() / 1024 ** 2),
    load: loadavg()[0] ?? 0,
    kernel: release(),
    node: process.versions.node,
    commit: await commitOf(environment, signal),
  };
}

async function commitOf(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string | null> {
  const cwd = fileURLToPath(new URL('../../..', import.meta.url));
  const git = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)('git', args, {
      cwd,
      env,
      signal,
      timeout: 10_000,
    });
    return stdout.trim();
  };
  try {
    const changes = await git('status', '--porcelain', '--', ':!benchmarks/results');
    return `${await git('rev-parse', '--short=12', 'HEAD')}${changes === '' ? '' : '+'}`;
  } catch {
    signal.throwIfAborted();
    return null;
  }
}
