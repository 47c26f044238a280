import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';
import { createAttemptLog } from './attempt-log.js';
import type { AttemptRun, RunDeps } from './attempt-run.js';
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
  const joined = joinSignals(released.signal, superseded.signal, outOfTime);
  const abandoned = joinSignals(superseded.signal, outOfTime);
  const run: AttemptRun = {
    ...deps,
    held,
    work,
    own: deps.names.attempt(held.taskUid, held.attempt),
    log: createAttemptLog(),
    signal: joined.signal,
    abandoned: abandoned.signal,
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
    joined.release();
    abandoned.release();
  })().catch((error: unknown) => {
    deps.logger.error({ err: error }, 'an attempt ended in a way that was not foreseen');
  });
  return {
    settled,
    cleaned: settled.then(() => cleanUp(run)),
    release: () => {
      released.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
    },
  };
}

/** The outcome, its log read; undefined when there is nobody to tell it to. */
async function carryOut(run: AttemptRun, released: AbortSignal): Promise<Outcome | undefined> {
  let staged: Staged | undefined;
  let reading: Promise<void> | undefined;
  const phases = async (): Promise<Outcome> => {
    const stage = await stageAttempt(run);
    if (stage.kind !== 'staged') return stage;
    staged = stage;
    const end = await executeAttempt(run, stage);
    // Beside the output: the container is at rest.
    reading = readLog(run, stage.container);
    return end.kind === 'succeeded' ? await collectOutput(run, stage) : end;
  };
  let outcome: Outcome;
  try {
    outcome = await phases();
  } catch (error) {
    if (run.abandoned.aborted) return undefined;
    outcome = released.aborted ? await stopRun(run, staged) : faultOf(run, error);
  }
  if (staged !== undefined) await (reading ?? readLog(run, staged.container));
  return outcome;
}

async function stopRun(run: AttemptRun, staged: Staged | undefined): Promise<Outcome> {
  if (staged !== undefined) {
    const { engine, settings, logger } = run;
    await engine
      .stopContainer(staged.container, settings.containerGraceMs, run.abandoned)
      .catch((error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'a container could not be stopped');
      });
  }
  return { kind: 'released', detail: 'The consumer stopped.', exitCode: null };
}

function faultOf(run: AttemptRun, error: unknown): Outcome {
  const { taskUid, attempt } = run.held;
  run.logger.warn({ taskUid, attempt, err: error }, 'an attempt met a fault');
  run.engineWatch.suspect(error);
  return fault(messageOf(error));
}
