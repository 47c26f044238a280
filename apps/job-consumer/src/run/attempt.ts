import { AppError, messageOf } from '@inference-server/errors';
import { createAttemptLog } from './attempt-log.js';
import { uncut, type AttemptRun, type RunDeps } from './attempt-run.js';
import type { Claim } from './claim.js';
import { cleanUp } from './clean-up.js';
import { collectOutput } from './collect.js';
import { executeAttempt } from './execute.js';
import { keepLease } from './lease.js';
import { fault, type Outcome } from './outcome.js';
import { readLog } from './read-log.js';
import { settleAttempt } from './settle.js';
import { stageAttempt, type Staged } from './stage.js';

/** An attempt under way. */
export interface RunningAttempt {
  /** Resolves once private-api knows the end; never rejects. */
  settled: Promise<void>;
  /** Resolves once nothing of it is left; `false`: the engine was away, something is. Never rejects. */
  cleaned: Promise<boolean>;
  /** Gives the attempt back: its container is stopped. What ran to its end already is brought in. */
  release(): void;
}

/**
 * Carries a claimed attempt out: stage, execute, collect, settle, with the lease renewed beside it.
 * `outOfTime` aborts when the process must end.
 */
export function startAttempt(
  deps: RunDeps,
  { held, work }: Claim,
  outOfTime: AbortSignal,
): RunningAttempt {
  const released = new AbortController();
  const superseded = new AbortController();
  const run: AttemptRun = {
    ...deps,
    held,
    work,
    own: deps.names.attempt(held.taskUid, held.attempt),
    log: createAttemptLog(),
    signal: AbortSignal.any([released.signal, superseded.signal, outOfTime]),
    abandoned: AbortSignal.any([superseded.signal, outOfTime]),
    outOfTime,
  };
  const lease = keepLease(deps, held, () => {
    superseded.abort(new AppError('CONFLICT', 'The attempt is superseded.'));
  });
  const settled = (async () => {
    const outcome = await carryOut(run, released.signal);
    if (outcome !== undefined) await settleAttempt(run, outcome);
    else deps.logger.info({ taskUid: held.taskUid, attempt: held.attempt }, 'superseded');
    await lease.stop();
  })();
  return {
    settled,
    cleaned: settled.then(() => cleanUp(run)),
    release: () => {
      released.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
    },
  };
}

/** The outcome, with its log; undefined when there is nobody to tell it to. */
async function carryOut(run: AttemptRun, released: AbortSignal): Promise<Outcome | undefined> {
  let staged: Staged | undefined;
  const phases = async (): Promise<Outcome> => {
    const stage = await stageAttempt(run);
    if (stage.kind !== 'staged') return stage;
    staged = stage;
    const end = await executeAttempt(run, stage);
    // The log is read beside the output, for the container is at rest.
    const reading = readLog(run, stage.container);
    const outcome = end.kind === 'succeeded' ? collectOutput(run, stage) : end;
    return await Promise.resolve(outcome).finally(() => reading);
  };
  try {
    return await phases();
  } catch (error) {
    if (run.abandoned.aborted) return undefined;
    const outcome = released.aborted ? released_() : faultOf(run, error);
    if (staged !== undefined) await bringToRest(run, staged);
    return outcome;
  }
}
