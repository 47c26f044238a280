import { EngineError, isEngineProblem } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import { probeStart } from '../probe.js';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';
import { causeOf } from './fault-cause.js';
import { failed, fault, type Outcome } from './outcome.js';

/**
 * Starts the model's container; undefined when it runs. The engine's words do not tell whose fault a
 * failure is, a probe with the same device, limits and volumes does: where that starts it is the
 * image's, if it fails once more. (Whatever keeps an engine for a moment is nobody's.)
 */
export async function startModel(run: AttemptRun, container: string): Promise<Outcome | undefined> {
  const { engine, signal } = run;
  const start = await engine.startContainer(container, uncut);
  if (start.started) return undefined;
  const volumes = (await engine.inspectContainer(container, signal))?.volumes ?? [];
  const ours = await faultOfStarts(run, volumes);
  if (ours !== undefined) return ours;
  await run.requireLease();
  const again = await engine.startContainer(container, uncut);
  return again.started ? undefined : imageFails(again.startError);
}

/** What it means that the engine refused to make the model's container, which has these volumes. */
export async function judgeRefusal(
  run: AttemptRun,
  refusal: unknown,
  volumes: readonly string[],
): Promise<Outcome> {
  return (await faultOfStarts(run, volumes)) ?? imageFails(messageOf(refusal));
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
  { settings, modelVolumes, signal }: AttemptRun,
  volumes: readonly string[],
): Promise<Outcome | undefined> {
  const { gpu, limits } = settings;
  const problemWith = async (device: string | null): Promise<unknown> => {
    try {
      await probeStart(modelVolumes, { gpu: device, limits, volumes }, signal);
      return undefined;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      return error;
    }
  };
  const problem = await problemWith(gpu);
  if (problem === undefined) return undefined;
  const isOfDevice =
    gpu !== null && isEngineProblem(problem, 'failed') && (await problemWith(null)) === undefined;
  return fault(
    isOfDevice ? 'device_lost' : causeOf(problem),
    `No container can be started: ${messageOf(problem)}`,
  );
}
