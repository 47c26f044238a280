import { setTimeout as pause } from 'node:timers/promises';
import { AppError } from '@inference-server/errors';
import type { FinishedTask, TaskAnswer } from './task-answer.js';

/** So many questions in a row may go unanswered: five minutes at least. */
const maxUnanswered = 300;
const askAgainAfterS = 1;

/**
 * Asks until the task has finished, with the pauses that the server asks for. A fault that passes
 * is waited out; any other rejects at once.
 */
export async function waitUntilFinished(
  ask: () => Promise<TaskAnswer>,
  signal: AbortSignal | undefined,
): Promise<FinishedTask> {
  let unanswered = 0;
  for (;;) {
    let pauseS: number;
    try {
      const answer = await ask();
      if (answer.state === 'finished') return answer;
      unanswered = 0;
      pauseS = answer.retryAfterS;
    } catch (error) {
      unanswered += 1;
      if (!isPassing(error) || unanswered >= maxUnanswered) throw error;
      pauseS = error.retryAfterS ?? askAgainAfterS;
    }
    await pause(pauseS * 1000, undefined, signal === undefined ? {} : { signal }).catch(() => {
      signal?.throwIfAborted();
    });
  }
}

function isPassing(error: unknown): error is AppError {
  return error instanceof AppError && error.retryable;
}
