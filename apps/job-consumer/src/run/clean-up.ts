import { isComplete } from '../model-volume.js';
import { labelNames } from '../names.js';
import { retryPassing } from '../retry.js';
import { uncut } from '../uncut.js';
import type { AttemptRun } from './attempt-run.js';

/**
 * Removes the containers of an attempt, then its volumes: those that carry its labels, whoever of us
 * made them and however far it came. A model volume that is complete belongs to all, and stays.
 */
export async function removeTraces({ engine, names, own }: AttemptRun): Promise<void> {
  for (const { id } of await engine.listContainers(own.all, uncut)) {
    await engine.removeContainer(id, uncut);
  }
  for (const volume of await engine.listVolumes(own.all, uncut)) {
    const version = volume.labels[labelNames.modelVersion];
    const isOfAll =
      version !== undefined && (await isComplete({ engine, names }, version, volume.name, uncut));
    if (!isOfAll) await engine.removeVolume(volume.name, uncut);
  }
}

/** After the settlement. False when the engine stayed away: then the traces are leftovers. */
export async function cleanUp(run: AttemptRun): Promise<boolean> {
  try {
    await retryPassing(() => removeTraces(run), { signal: run.outOfTime, forMs: giveUpAfterMs });
    return true;
  } catch (error) {
    const { taskUid, attempt } = run.held;
    run.logger.warn({ taskUid, attempt, err: error }, 'an attempt left traces in the engine');
    run.engineWatch.suspect(error);
    return false;
  }
}

/**
 * Of an attempt that is left to another: what the other may not have seen, and nobody can use.
 * False when it could not be removed.
 */
export async function removeUnstarted(run: AttemptRun): Promise<boolean> {
  const { engine, unstarted, held, logger } = run;
  try {
    for (const id of unstarted) await engine.removeContainer(id, uncut);
    return true;
  } catch (error) {
    const { taskUid, attempt } = held;
    logger.warn({ taskUid, attempt, err: error }, 'an attempt left traces in the engine');
    run.engineWatch.suspect(error);
    return false;
  }
}

const giveUpAfterMs = 10_000;
