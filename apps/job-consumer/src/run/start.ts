import {
  EngineError,
  isEngineProblem,
  type Labels,
  type StartOutcome,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Kind } from '../names.js';
import { probeStart } from '../probe.js';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';
import { isEngineOutage, outlastEngineOutage } from './engine-outage.js';
import { causeOf } from './fault-cause.js';
import { failed, fault, type Outcome } from './outcome.js';

/** The volumes of a container that are ours: by name, of which kind each is. */
export type OwnVolumes = Readonly<Record<string, Kind>>;

/** Whose model's container is started: an attempt, or a replica. */
export interface Starting extends Pick<
  AttemptRun,
  'engine' | 'modelVolumes' | 'requireLease' | 'allotment' | 'unstarted' | 'mayRun' | 'signal'
> {
  own: { name(kind: 'probe'): string; labels(kind: 'probe'): Labels };
  settings: Pick<AttemptRun['settings'], 'policy'>;
}

/**
 * Starts the model's container; undefined when it runs. The engine's words do not tell whose fault a
 * failure is, a probe with the same device, limits and volumes does: where that starts it is the
 * image's, if it fails once more. (Whatever keeps an engine for a moment is nobody's.)
 */
export async function startModel(
  run: Starting,
  container: string,
  volumes: OwnVolumes,
): Promise<Outcome | undefined> {
  const first = await start(run, container);
  if (first.started) return undefined;
  const ours = await faultOfStarts(run, volumes);
  if (ours !== undefined) return ours;
  await run.requireLease();
  const again = await start(run, container);
  return again.started ? undefined : imageFails(again.startError);
}

/** Has the model's container made, which is to have these volumes; judged as a start is. */
export async function createModel(
  run: Starting,
  volumes: OwnVolumes,
  create: () => Promise<string>,
): Promise<string | Outcome> {
  try {
    return await create();
  } catch (error) {
    if (!isEngineProblem(error, 'refused', 'failed')) throw error;
  }
  const ours = await faultOfStarts(run, volumes);
  if (ours !== undefined) return ours;
  try {
    return await create();
  } catch (error) {
    if (!isEngineProblem(error, 'refused', 'failed')) throw error;
    return imageFails(messageOf(error));
  }
}

/** One whose answer is lost counts as started until the engine says otherwise: it may run. */
async function start(run: Starting, container: string): Promise<StartOutcome> {
  const { engine, unstarted, signal } = run;
  unstarted.delete(container);
  run.mayRun = true;
  let outcome: StartOutcome;
  try {
    outcome = await engine.startContainer(container, uncut);
  } catch (error) {
    if (!isEngineOutage(error)) throw error;
    outcome = await outlastEngineOutage(() => startUnlessStarted(run, container), signal);
  }
  if (!outcome.started) {
    unstarted.add(container);
    run.mayRun = false;
  }
  return outcome;
}

/** One that has come to its end meanwhile would run twice. */
async function startUnlessStarted(run: Starting, container: string): Promise<StartOutcome> {
  const found = await run.engine.inspectContainer(container, run.signal);
  if (found?.startedAt !== undefined) return { started: true };
  await run.requireLease();
  return run.engine.startContainer(container, uncut);
}

function imageFails(startError: string): Outcome {
  return failed(
    'start_failed',
    'The image does not start, though others start here with the same device and volumes. Look at ' +
      'its USER, its VOLUMEs, its command, and what it has at /input, /output and /model. ' +
      `The engine says: ${startError}`,
  );
}

/** What keeps this consumer from starting any container; undefined when nothing does. */
async function faultOfStarts(
  { engine, own, modelVolumes, requireLease, allotment, settings, signal }: Starting,
  volumes: OwnVolumes,
): Promise<Outcome | undefined> {
  const { limits } = allotment;
  const problemWith = async (gpus: readonly string[]): Promise<unknown> => {
    const name = `${own.name('probe')}-${modelVolumes.newRandom()}`;
    const { runtime } = settings.policy;
    const of = { name, labels: own.labels('probe'), gpus, limits, runtime };
    const probe = { ...of, volumes, requireLease };
    try {
      await probeStart(engine, probe, signal);
      return undefined;
    } catch (error) {
      if (!(error instanceof EngineError) || error.problem === 'volume_absent') throw error;
      return error;
    }
  };
  const problem = await problemWith(allotment.gpus);
  if (problem === undefined) return undefined;
  const isOfDevice =
    allotment.gpus.length > 0 &&
    isEngineProblem(problem, 'failed') &&
    (await problemWith([])) === undefined;
  const detail = `No container can be started: ${messageOf(problem)}`;
  if (!isOfDevice) return fault(causeOf(problem), detail);
  const lost: string[] = [];
  for (const gpu of allotment.gpus) {
    if ((await problemWith([gpu])) !== undefined) lost.push(gpu);
  }
  allotment.accuse(lost.length === 0 ? allotment.gpus : lost, detail);
  return fault('device_lost', detail);
}
