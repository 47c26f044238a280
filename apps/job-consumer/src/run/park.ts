import { messageOf } from '@inference-server/errors';
import { retryPassing } from '../retry.js';
import type { AttemptRun } from './attempt-run.js';

/**
 * Leaves the attempt, and what it has in the engine, to the consumer's next process. When private-api
 * cannot be told, the lease lapses earlier; a successor that comes before may still adopt it.
 */
export async function parkAttempt(
  run: AttemptRun,
): Promise<'parked' | 'untold' | 'adopted' | 'superseded'> {
  const { api, held, logger } = run;
  const signal = AbortSignal.timeout(giveUpAfterMs);
  try {
    const answer = await retryPassing(() => api.park(held, signal), {
      signal,
      forMs: giveUpAfterMs,
    });
    return answer.outcome;
  } catch (error) {
    const { taskUid, attempt } = held;
    logger.warn({ taskUid, attempt, reason: messageOf(error) }, 'a lease could not be parked');
    return 'untold';
  }
}

const giveUpAfterMs = 3_000;
