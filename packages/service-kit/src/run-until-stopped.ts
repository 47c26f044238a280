import type { Logger } from './logger.js';
import { messageOf } from '@inference-server/errors';

export interface RunningApp {
  /** Ends the work in hand; must resolve within the grace time. */
  close(): Promise<void>;
  /** Rejects when it cannot go on: it is closed then, and the process ends with 1. */
  failed?: Promise<never>;
}

/**
 * The life of a process: starts the app, waits for SIGINT, SIGTERM or the end of the parent that
 * forked it, or the app's own failure, closes it and exits: 0 after a clean close, 1 after a failed
 * start, a failure, or when closing, or coming to rest while it is starting, takes longer than `graceMs`. A second signal does not cut the close short.
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
  const boundTheRest = () => {
    setTimeout(() => exit(logger, 1, 'the grace time is over'), graceMs);
  };
  void stopped.then(() => {
    stopping.abort();
    boundTheRest();
  });
  let app: RunningApp | undefined;
  try {
    app = await start(stopping.signal);
    const failed = app.failed?.catch((error: unknown) => ({ error }));
    const end = await Promise.race([stopped, failed ?? stopped]);
    if (typeof end === 'string') logger.info({ why: end }, 'stopping');
    else {
      logger.fatal(messageOf(end.error));
      boundTheRest();
    }
    await app.close();
    if (typeof end !== 'string') return exit(logger, 1, 'failed');
  } catch (error) {
    if (app === undefined && stopping.signal.aborted)
      return exit(logger, 0, 'stopped while starting');
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
