import type { Logger } from './logger.js';
import { messageOf } from '@inference-server/errors';

export interface RunningApp {
  /** Ends the work in hand; must resolve within the grace time. */
  close(): Promise<void>;
}

/**
 * The life of a process: starts the app, waits for SIGINT, SIGTERM or the end of the parent that
 * forked it, closes it and exits: 0 after a clean close, 1 after a failed start or when closing
 * takes longer than `graceMs`. A second signal does not cut the close short.
 */
export async function runUntilStopped(
  start: (signal: AbortSignal) => Promise<RunningApp>,
  { logger, graceMs }: { logger: Logger; graceMs: number },
): Promise<never> {
  const stopping = new AbortController();
  const stopped = new Promise<string>((resolve) => {
    process.on('SIGINT', () => resolve('SIGINT'));
    process.on('SIGTERM', () => resolve('SIGTERM'));
    process.on('disconnect', () => resolve('the parent has ended'));
  });
  void stopped.then(() => stopping.abort());
  try {
    const app = await start(stopping.signal);
    const why = await stopped;
    logger.info({ why }, 'stopping');
    const overdue = setTimeout(() => exit(logger, 1, 'the grace time is over'), graceMs);
    await app.close();
    clearTimeout(overdue);
  } catch (error) {
    if (stopping.signal.aborted) return exit(logger, 0, 'stopped while starting');
    logger.fatal({ err: error }, messageOf(error));
    return exit(logger, 1, 'failed');
  }
  return exit(logger, 0, 'stopped');
}

function exit(logger: Logger, code: number, how: string): never {
  logger.info(how);
  logger.flush();
  process.exit(code);
}
