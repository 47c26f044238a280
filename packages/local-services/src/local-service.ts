import { AppError } from '@inference-server/errors';
import { readLogTail } from './log-tail.js';
import type { ProcessEnd, RunningProcess } from './start-process.js';
import { waitUntil } from './wait-until.js';

/** A service that runs as a child process of ours. */
export interface LocalService {
  readonly name: string;
  readonly pid: number;
  /** Where its clients reach it, credentials included. */
  readonly url: string;
  /** Resolves when the process has ended, for whatever reason. */
  readonly ended: Promise<ProcessEnd>;
  /** Ends it and waits for its end. Doing it twice is fine. */
  stop(): Promise<void>;
}

/**
 * Waits until `check` says that the process serves. Otherwise (it ended, it took longer than
 * `timeoutMs`, the signal was aborted) the process is stopped and the error tells the end of its
 * log.
 */
export async function untilServing(
  child: RunningProcess,
  check: () => Promise<boolean>,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  let end: ProcessEnd | undefined;
  void child.ended.then((how) => (end = how));
  try {
    const done = async () => end !== undefined || (await check());
    const inTime = await waitUntil(done, { timeoutMs, signal });
    if (inTime && end === undefined) return;
  } catch (error) {
    await child.stop();
    throw error;
  }
  const what =
    end === undefined
      ? `did not serve within ${timeoutMs / 1000} s`
      : `ended while starting (${end.signal ?? `exit code ${end.code}`})`;
  await child.stop();
  throw new AppError(
    'SERVICE_UNAVAILABLE',
    `${child.name} ${what}. The end of ${child.logFile}:\n${await readLogTail(child.logFile)}`,
  );
}
