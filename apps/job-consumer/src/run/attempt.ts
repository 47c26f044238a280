import { AppError, messageOf } from '@inference-server/errors';
import { crashPoint, joinSignals } from '@inference-server/service-kit';
import type { Allotment } from '../fleet.js';
import { createAttemptLog } from './attempt-log.js';
import type { AttemptRun, RunDeps } from './attempt-run.js';
import { cancelAttempt } from './cancel.js';
import type { Claim } from './claim.js';
import { cleanUp, removeUnstarted } from './clean-up.js';
import { collectOutput } from './collect.js';
import { createDeviceWatch } from './device-watch.js';
import { executeAttempt } from './execute.js';
import { causeOf } from './fault-cause.js';
import { keepLease } from './lease.js';
import { fault, type Outcome } from './outcome.js';
import { parkAttempt } from './park.js';
import { readLog } from './read-log.js';
import { resumeAttempt } from './resume.js';
import { settleAttempt } from './settle.js';
import { stageAttempt } from './stage.js';
import { createUsageMeter } from './usage-meter.js';

/** An attempt under way. */
export interface RunningAttempt {
  /**
   * Resolves once private-api knows the end, or the attempt is left to another, and nothing runs that is
   * ours: `false`: something may. Never rejects.
   */
  atRest: Promise<boolean>;
  /** Resolves once nothing of it is left; `false`: something is, or nobody knows. Never rejects. */
  cleaned: Promise<boolean>;
  /** The consumer stops: what runs is left to its successor, what does not run yet is given back. */
  leave(): void;
  /** Somebody else has it: nothing of it is touched any more. */
  forget(): void;
}

/** Whose the containers and volumes of an attempt are at its end: ours to remove, or another's. */
type Traces = 'ours' | 'left' | 'unknown';

/**
 * Carries an attempt out, with the lease renewed beside it: stage, execute, collect, settle, from
 * where the earlier holder of an adopted one came to. `outOfTime` aborts when the process must end.
 *
 *   staged ─▶ executed ─▶ collected ─▶ settled ─▶ cleaned
 *     │           │            │           ├── a cancel came first ─▶ removed ─▶ settled as cancelled
 *     ├───────────┴────────────┴── cancel ─┘
 *     ├───────────┴────────────┴── superseded ─▶ cleaned
 *     ├───────────┴────────────┴── adopted ─▶ left as it is
 *     │           ├── the consumer stops ─▶ parked, left as it is
 *     │           │            └── out of time ─▶ parked, left as it is
 *     └── the consumer stops ─▶ settled as released ─▶ cleaned
 */
export function startAttempt(
  deps: RunDeps,
  claim: Claim,
  allotment: Allotment,
  outOfTime: AbortSignal,
  { isAdopted }: { isAdopted: boolean },
): RunningAttempt {
  const { held, work } = claim;
  const stopping = new AbortController();
  const cancelled = new AbortController();
  const refused = new AbortController();
  const joined = joinSignals(stopping.signal, cancelled.signal, refused.signal, outOfTime);
  const abandoned = joinSignals(cancelled.signal, refused.signal, outOfTime);
  let refusal: 'adopted' | 'superseded' | undefined;
  const refuse = (why: 'adopted' | 'superseded') => {
    refusal ??= why;
    refused.abort(new AppError('CONFLICT', `The attempt is ${refusal}.`));
  };
  const usage = createUsageMeter(deps.engine, deps.gpuSource, allotment.gpus);
  const lease = keepLease(deps, claim, {
    readPeakMib: () => usage.read()?.gpu_memory_peak_mib ?? null,
    onRefused: refuse,
    onCancel: () => {
      cancelled.abort(new AppError('CONFLICT', 'The task is to be cancelled.'));
    },
  });
  const run: AttemptRun = {
    ...deps,
    held,
    work,
    own: deps.names.attempt(held.taskUid, held.attempt),
    allotment,
    log: createAttemptLog(),
    usage,
    deviceWatch: createDeviceWatch(deps.engine, deps.settings.gpuCheckMs),
    noteEnd: deps.quarantine.begin(),
    requireLease: async () => {
      await lease.confirm(joined.signal);
      joined.signal.throwIfAborted();
    },
    stopLease: () => lease.stop(),
    mayRun: isAdopted,
    unstarted: new Set(),
    signal: joined.signal,
    abandoned: abandoned.signal,
    outOfTime,
  };

  const live = async (): Promise<Traces> => {
    const how = await carryOut(run, stopping.signal, isAdopted);
    if (refusal !== undefined) return tracesAfter(run, refusal);
    if (cancelled.signal.aborted) return tracesAfter(run, await cancelAttempt(run));
    if (how === 'to be left') return tracesAfter(run, await parkAttempt(run));
    const answer = await settleAttempt(run, how);
    if (answer === 'untold') return tracesAfter(run, await parkAttempt(run));
    if (answer === 'cancel_requested') return tracesAfter(run, await cancelAttempt(run));
    return tracesAfter(run, answer);
  };

  const ended = (async () => {
    const traces = await live().catch((error: unknown): Traces => {
      deps.logger.error({ err: error }, 'an attempt ended in a way that was not foreseen');
      return 'unknown';
    });
    await lease.stop();
    joined.release();
    abandoned.release();
    return traces;
  })();
  const cleaned = ended.then((traces) => {
    if (traces === 'unknown') return false;
    return traces === 'ours' ? cleanUp(run) : removeUnstarted(run);
  });
  return {
    atRest: ended.then((traces) => !run.mayRun || (traces !== 'left' && cleaned)),
    cleaned,
    leave: () => {
      stopping.abort(new AppError('SERVICE_UNAVAILABLE', 'The consumer is stopping.'));
    },
    forget: () => {
      refuse('adopted');
    },
  };
}

function tracesAfter(
  { held, logger }: AttemptRun,
  how: 'settled' | 'adopted' | 'superseded' | 'parked' | 'untold' | 'cancel_requested',
): Traces {
  const { taskUid, attempt } = held;
  if (how !== 'settled') logger.info({ taskUid, attempt, how }, 'an attempt is left');
  return how === 'settled' || how === 'superseded' ? 'ours' : 'left';
}

/** The outcome, its log read; `to be left`: another goes on from here, or there is nobody to tell. */
async function carryOut(
  run: AttemptRun,
  stopping: AbortSignal,
  isAdopted: boolean,
): Promise<Outcome | 'to be left'> {
  // One that was adopted may run, whatever the engine says of it.
  let container = isAdopted ? run.own.name('run') : undefined;
  let reading: Promise<unknown> | undefined;
  const phases = async (): Promise<Outcome> => {
    const runnable = isAdopted ? await resumeAttempt(run) : await stageAttempt(run);
    container = undefined;
    if (!('container' in runnable)) return runnable;
    container = runnable.container;
    if (!isAdopted) crashPoint('input_staged', run.held.taskUid);
    const end = await executeAttempt(run, runnable);
    crashPoint('container_ended', run.held.taskUid);
    // Beside the output: the container is at rest.
    reading = Promise.all([readLog(run, container), run.usage.conclude(container)]);
    return end.kind === 'succeeded' ? await collectOutput(run, container) : end;
  };
  let outcome: Outcome;
  try {
    outcome = await phases();
  } catch (error) {
    if (run.abandoned.aborted) return 'to be left';
    if (!stopping.aborted) outcome = faultOf(run, error);
    else if (isStarted(run, container) && run.settings.handsOver) return 'to be left';
    else outcome = await stopRun(run, container);
  }
  if (container !== undefined) await (reading ?? readLog(run, container));
  return outcome;
}

function isStarted({ unstarted }: AttemptRun, container: string | undefined): boolean {
  return container !== undefined && !unstarted.has(container);
}

async function stopRun(run: AttemptRun, container: string | undefined): Promise<Outcome> {
  if (container !== undefined) {
    const { engine, usage, settings, logger } = run;
    await engine
      .stopContainer(container, settings.containerGraceMs, run.abandoned)
      .catch((error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'a container could not be stopped');
      });
    await usage.conclude(container);
  }
  return { kind: 'released', detail: 'The consumer stopped.', exitCode: null };
}

function faultOf(run: AttemptRun, error: unknown): Outcome {
  const { taskUid, attempt } = run.held;
  run.logger.warn({ taskUid, attempt, err: error }, 'an attempt met a fault');
  run.engineWatch.suspect(error);
  return fault(causeOf(error), messageOf(error));
}
