import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitUntil } from '@inference-server/local-services';

/** Processes that run, some of whose system calls fail: strace holds every thread of them. */
export interface FailingCalls {
  /** What has failed so far, in strace's words: the thread, the call, the error. */
  hits(): Promise<string[]>;
  /** Lets go of them, and sees that they run on. */
  end(): Promise<void>;
}

/**
 * From when it resolves, each of the calls fails with EIO in each thread of the processes, in those that
 * they start too, without having been made. Throws when not every thread can be held; then none is.
 */
export async function failCalls(
  pids: readonly number[],
  calls: readonly string[],
  logFile: string,
): Promise<FailingCalls> {
  const set = calls.join(',');
  const args = [
    ...['--follow-forks', '--quiet=all', '--signal=none', `--output=${logFile}`],
    ...[`--trace=${set}`, `--inject=${set}:error=EIO`],
    ...pids.map((pid) => `--attach=${pid}`),
  ];
  const tracer = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let words = '';
  tracer.stderr.on('data', (piece: Buffer) => (words += piece.toString()));
  const ended = once(tracer, 'exit').catch((error: unknown) => (words += String(error)));
  const hasEnded = () =>
    tracer.pid === undefined || tracer.exitCode !== null || tracer.signalCode !== null;

  const end = async () => {
    tracer.kill('SIGTERM');
    const overdue = new AbortController();
    await Promise.race([ended, sleep(withinMs, undefined, { signal: overdue.signal })]);
    overdue.abort();
    // The kernel lets go of what a tracer held that is no more.
    if (!hasEnded()) tracer.kill('SIGKILL');
    await ended;
    const isFree = async () => {
      const threads = await threadsOf(pids);
      return threads.every(({ tracerPid, state }) => tracerPid === 0 && !'tT'.includes(state));
    };
    if (!(await waitUntil(isFree, { timeoutMs: withinMs }))) {
      throw new Error(`After strace, of ${pids.join(', ')}: ${told(await threadsOf(pids))}`);
    }
  };
  const areHeld = async () => {
    const threads = await threadsOf(pids);
    const isHeld = ({ tracerPid }: Thread) => tracerPid === tracer.pid;
    return hasEnded() || (threads.length > 0 && threads.every(isHeld));
  };
  const inTime = await waitUntil(areHeld, { timeoutMs: withinMs });
  if (!inTime || hasEnded()) {
    tracer.kill('SIGKILL');
    await ended;
    throw new Error(`strace does not hold every thread of ${pids.join(', ')}: ${words}`);
  }
  return {
    async hits() {
      const lines = (await readFile(logFile, 'utf8')).split('\n');
      return lines.filter((line) => line.includes('(INJECTED)'));
    },
    end,
  };
}

const withinMs = 10_000;

interface Thread {
  tid: number;
  tracerPid: number;
  /** As the kernel has it: T stopped, t held by a tracer, S asleep, R runs. */
  state: string;
}

/** Of processes that have ended: none. */
async function threadsOf(pids: readonly number[]): Promise<Thread[]> {
  const threads: Thread[] = [];
  for (const pid of pids) {
    for (const tid of await readdir(`/proc/${pid}/task`).catch(() => [])) {
      const status = await readFile(`/proc/${pid}/task/${tid}/status`, 'utf8').catch(() => '');
      const [, state] = /^State:\s+(\S)/m.exec(status) ?? [];
      const [, tracerPid] = /^TracerPid:\s+(\d+)/m.exec(status) ?? [];
      if (state === undefined) continue;
      threads.push({ tid: Number(tid), tracerPid: Number(tracerPid), state });
    }
  }
  return threads;
}

function told(threads: readonly Thread[]): string {
  return threads.map(({ tid, tracerPid, state }) => `${tid} ${state} ${tracerPid}`).join(', ');
}
