import { messageOf } from '@inference-server/errors';
import { retryPassing } from '../retry.js';
import type { AttemptRun } from './attempt-run.js';

/**
 * Leaves the attempt, and what it has in the engine, to the consumer's next process. While private-api
 * is away this is tried again for as long as the process has. When it cannot be told, the lease
 * lapses earlier; a successor that comes before may still adopt it.
 */
export async function parkAttempt(
  run: AttemptRun,
): Promise<'parked' | 'untold' | 'adopted' | 'superseded'> {
  const { api, held, logger, outOfTime } = run;
  // A renewal that came after it would undo it.
  await run.stopLease();
  const signal = outOfTime.aborted ? AbortSignal.timeout(lastWordMs) : outOfTime;
  try {
    const answer = await retryPassing(() => api.park(held, signal), {
      signal,
      forMs: Number.POSITIVE_INFINITY,
    });
    return answer.outcome;
  } catch (error) {
    const { taskUid, attempt } = held;
    logger.warn({ taskUid, attempt, reason: messageOf(error) }, 'a lease could not be parked');
    return 'untold';
  }
}

/** What is left of the process's grace when it is out of time is a little more. */
const lastWordMs = 3_000;
