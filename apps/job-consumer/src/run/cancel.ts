import { isEngineProblem } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import { retryPassing } from '../retry.js';
import type { AttemptRun } from './attempt-run.js';
import { removeTraces } from './clean-up.js';
import { causeOf } from './fault-cause.js';
import { fault, type Outcome } from './outcome.js';
import { parkAttempt } from './park.js';
import { settleAttempt, type Settlement } from './settle.js';

/**
 * Stops and removes what runs, then says so: a task is cancelled when its container is gone. When the
 * engine does not let it go the attempt ends as a fault, which cancels the task too.
 */
export async function cancelAttempt(run: AttemptRun): Promise<Settlement | 'parked'> {
  const settlement = await settleAttempt(run, await remove(run));
  return settlement === 'untold' ? parkAttempt(run) : settlement;
}

async function remove(run: AttemptRun): Promise<Outcome> {
  const { engine, own, usage, settings, outOfTime } = run;
  try {
    await engine
      .stopContainer(own.name('run'), settings.containerGraceMs, outOfTime)
      .catch((error: unknown) => {
        if (!isEngineProblem(error, 'container_absent')) throw error;
      });
    await usage.conclude(own.name('run'));
    await retryPassing(() => removeTraces(run), { signal: outOfTime, forMs: giveUpAfterMs });
    run.mayRun = false;
    return { kind: 'cancelled', detail: 'The task was cancelled.', exitCode: null };
  } catch (error) {
    run.engineWatch.suspect(error);
    return fault(causeOf(error), `The container could not be removed: ${messageOf(error)}`);
  }
}

const giveUpAfterMs = 10_000;
