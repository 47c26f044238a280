import type { TaskPlan } from '../load/task-kinds.js';
import type { ContainerEvent } from '../world/engine-events.js';
import { forgotten, isOf, type AttemptRow, type Excuse } from './excuses.js';
import { groupBy } from './groups.js';

export interface RunFindings {
  /** Those that have ended with a code. */
  runs: number;
  untold: string[];
  /** How many of them there are of whose end the engine need not tell: it was away, or has forgotten it. */
  unasked: number;
  /** Those that were out of memory, and those of which an event of that was not heard. */
  memory: { runs: number; unheard: string[] };
}

/**
 * Holds each attempt whose container has ended with a code against what the engines have told of it:
 * without their word nobody would know of a container that was started twice, or elsewhere. `plans` are
 * those of the tasks, by uid.
 */
export function checkRuns(
  attempts: readonly AttemptRow[],
  plans: ReadonlyMap<string, Pick<TaskPlan, 'kind' | 'model'>>,
  containers: readonly ContainerEvent[],
  excuses: readonly Excuse[],
): RunFindings {
  const untold: string[] = [];
  let unasked = 0;
  const memory: RunFindings['memory'] = { runs: 0, unheard: [] };
  const ofRuns = containers.filter(({ kind }) => kind === 'run');
  const events = groupBy(ofRuns, ({ task, attempt }) => keyOf(task, attempt));
  const runs = attempts.filter(({ exitCode }) => exitCode !== null);
  for (const run of runs) checkRun(run, events.get(keyOf(run.uid, run.number)) ?? []);
  for (const { action, task, consumer } of ofRuns) {
    const plan = plans.get(task);
    if (action !== 'start' || plan === undefined) continue;
    if ((plan.model === 'gpu') !== consumer.startsWith(ofGpu)) {
      untold.push(`${task}: one of the model ${plan.model} was started by ${consumer}`);
    }
  }
  return { runs: runs.length, untold, unasked, memory };

  function checkRun(run: AttemptRow, of: readonly ContainerEvent[]): void {
    const { uid, number, consumerId, exitCode, outcome, reason } = run;
    const name = `${uid}: attempt ${number} ended with ${exitCode ?? ''}, and`;
    const starts = of.filter(({ action }) => action === 'start');
    if (starts.length !== 1) untold.push(`${name} was started ${starts.length} times`);
    for (const { consumer } of starts) {
      if (consumer !== consumerId) untold.push(`${name} is of ${consumerId}, not of ${consumer}`);
    }
    // What has ended while its engine was away is told of by none.
    const own = excuses.filter((excuse) => isOf(run, excuse));
    const engineWasAway = (excuse: Excuse) =>
      excuse.isOf === undefined || excuse.isOf === 'forgotten ends';
    if (exitCode === forgotten || own.some(engineWasAway)) {
      unasked += 1;
      return;
    }
    const ends = of.filter(({ action }) => action === 'die');
    if (!ends.some((end) => end.exitCode === exitCode)) {
      const codes = ends.map((end) => end.exitCode ?? 'nothing').join(', ');
      untold.push(`${name} its engine tells of ${codes || 'no end'}`);
    }
    const isToldOfMemory =
      (outcome === 'finished' || outcome === 'failed') &&
      !own.some((excuse) => excuse.isOf === 'untold memory');
    const wantsMemory = plans.get(uid)?.kind.includes('out of memory') ?? false;
    if (!isToldOfMemory || !wantsMemory) return;
    if (reason === 'out_of_memory') memory.runs += 1;
    if (of.some(({ action }) => action === 'oom')) return;
    const what = `${name} no process of it was out of memory`;
    // The row knows it from the engine, whose event has not come to us.
    if (reason === 'out_of_memory') memory.unheard.push(what);
    else untold.push(what);
  }
}

/** The consumer of the GPU. */
const ofGpu = 'job-consumer-gpu';

function keyOf(task: string, attempt: number): string {
  return `${task}.${attempt}`;
}
