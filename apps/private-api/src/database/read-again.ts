import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { isInDoubt } from './database.js';

/** How long the database may be away before the question is given up. */
const withinMs = 10_000;
const againAfterMs = 250;

/**
 * What a transaction that failed with `error` has written after all: when the answer to its COMMIT
 * was lost, `read` looks for it (or writes it, if a second time changes nothing), again and again
 * while the database is away. Throws `error` when it was not committed, or when that could not be
 * learned in time.
 */
export async function readAgain<Result>(
  error: unknown,
  read: () => Promise<Result | undefined>,
  logger: Logger,
): Promise<Result> {
  if (!isInDoubt(error)) throw error;
  const giveUpAt = performance.now() + withinMs;
  while (performance.now() < giveUpAt) {
    try {
      const found = await read();
      if (found === undefined) break;
      logger.debug('a commit whose answer was lost was made');
      return found;
    } catch (failure) {
      if (!(failure instanceof AppError) || failure.code !== 'SERVICE_UNAVAILABLE') break;
    }
    await sleep(againAfterMs);
  }
  throw error;
}
