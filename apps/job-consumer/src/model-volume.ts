import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import {
  isEngineProblem,
  stagingContainer,
  type ContainerEngine,
  type ContainerSpec,
  type Labels,
} from '@inference-server/container-engine';
import { labelNames, type ModelNames, type Names } from './names.js';

export interface ModelVolumeDeps {
  engine: ContainerEngine;
  names: Names;
  newRandom: () => string;
  /** How often a consumer that waits for another's fill looks, and when it takes that for dead. */
  pollMs?: number;
  staleAfterMs?: number;
}

export interface ModelVolumeRequest {
  versionId: string;
  /** The model's own image: the one that is sure to be there. */
  image: string;
  /** Of whoever asks, and a kind. */
  labels: (kind: 'model-fill' | 'model-data') => Labels;
  /** The model's files as a tar; asked for only when they are not in the engine yet. */
  openTar: (signal: AbortSignal) => Promise<Readable>;
}

/**
 * The name of the volume with a model version's files: one for each engine, filled once, used by all
 * tasks after that.
 *
 *   data volume    a random name; filled by its maker, and worth nothing by itself
 *   marker volume  a fixed name; its label names the data volume that is complete. Creating a volume
 *                  that exists changes nothing, so the first to finish decides, in one step
 *   fill container a fixed name; who could create it fills, the others wait. It only spares work:
 *                  two that fill at once do no harm
 *
 * A fill that was cut short has no marker: its volume is never used, and removed as a leftover.
 */
export async function requireModelVolume(
  deps: ModelVolumeDeps,
  request: ModelVolumeRequest,
  signal: AbortSignal,
): Promise<string> {
  const { pollMs = 250, staleAfterMs = 15 * 60_000 } = deps;
  const names = deps.names.model(request.versionId);
  const seen = { lock: '', since: 0 };
  for (;;) {
    const complete = await findComplete(deps.engine, names, signal);
    if (complete !== undefined) return complete;
    const filled = await tryFill(deps, names, request, signal);
    if (filled !== undefined) return filled;
    await sleep(pollMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    const lock = (await deps.engine.inspectContainer(names.lock, signal))?.id ?? '';
    if (lock !== seen.lock) Object.assign(seen, { lock, since: performance.now() });
    else if (lock !== '' && performance.now() - seen.since > staleAfterMs) {
      await deps.engine.removeContainer(lock, signal);
    }
  }
}

/** Whether the marker of the version names this very volume. */
export async function isComplete(
  { engine, names }: Pick<ModelVolumeDeps, 'engine' | 'names'>,
  versionId: string,
  volume: string,
  signal: AbortSignal,
): Promise<boolean> {
  const marker = await engine.inspectVolume(names.model(versionId).marker, signal);
  return marker?.labels[labelNames.volume] === volume;
}

/** A marker whose volume somebody has removed is removed as well. */
async function findComplete(
  engine: ContainerEngine,
  names: ModelNames,
  signal: AbortSignal,
): Promise<string | undefined> {
  const marker = await engine.inspectVolume(names.marker, signal);
  const volume = marker?.labels[labelNames.volume];
  if (volume === undefined) return undefined;
  if ((await engine.inspectVolume(volume, signal)) !== undefined) return volume;
  await engine.removeVolume(names.marker, signal);
  return undefined;
}

/** Undefined when another is filling, or took the lock for its own. */
async function tryFill(
  deps: ModelVolumeDeps,
  names: ModelNames,
  request: ModelVolumeRequest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { engine } = deps;
  const volume = names.data(deps.newRandom());
  const lock = stagingContainer({
    name: names.lock,
    image: request.image,
    labels: request.labels('model-fill'),
    mounts: [{ volume, path: fillFolder, readOnly: false }],
  });
  // Not to be cut short by the signal: what the engine has begun to create could not be found again.
  const uncut = new AbortController().signal;
  const container = await takeLock(engine, lock, uncut, async () => {
    await engine.createVolume({ name: volume, labels: request.labels('model-data') }, uncut);
  });
  if (container === undefined) return undefined;
  let winner: string | undefined;
  try {
    // The one before may have finished between the look and the lock.
    winner = await findComplete(engine, names, signal);
    if (winner !== undefined) return winner;
    await engine.putArchive(container, fillFolder, await request.openTar(signal), signal);
    await engine.createVolume({ name: names.marker, labels: names.markerLabels(volume) }, uncut);
    winner = await findComplete(engine, names, uncut);
    return winner;
  } catch (error) {
    // Taken for dead by another, which goes on with the work.
    if (isEngineProblem(error, 'container_absent')) return undefined;
    throw error;
  } finally {
    await engine.removeContainer(container, uncut);
    if (winner !== volume) await engine.removeVolume(volume, uncut);
  }
}

/** Undefined when another has it. */
async function takeLock(
  engine: ContainerEngine,
  lock: ContainerSpec,
  signal: AbortSignal,
  prepare: () => Promise<void>,
): Promise<string | undefined> {
  if ((await engine.inspectContainer(lock.name, signal)) !== undefined) return undefined;
  await prepare();
  try {
    return await engine.createContainer(lock, signal);
  } catch (error) {
    for (const { volume } of lock.mounts) await engine.removeVolume(volume, signal);
    if (isEngineProblem(error, 'name_in_use')) return undefined;
    throw error;
  }
}

const fillFolder = '/inference-server-fill';
