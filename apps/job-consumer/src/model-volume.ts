import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import {
  EngineError,
  isEngineProblem,
  stagingContainer,
  type ContainerEngine,
  type ContainerSpec,
  type Labels,
  type VolumeMount,
} from '@inference-server/container-engine';
import { requireEmptyImage } from './empty-image.js';
import { noteModelUse } from './model-volume-use.js';
import { labelNames, type Kind, type ModelNames, type Names } from './names.js';
import { uncut } from './uncut.js';

export interface ModelVolumeDeps {
  engine: ContainerEngine;
  names: Names;
  newRandom: () => string;
  now: () => Date;
  /** How often a consumer that waits for another's fill looks, and when it takes that for dead. */
  pollMs?: number;
  staleAfterMs?: number;
}

export interface ModelVolumeRequest {
  versionId: string;
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
 *   lock container a fixed name; who could create it fills, the others wait, and remove it when it
 *                  stands for too long. It only spares work: nothing is filled through it, so who was
 *                  taken for dead goes on and publishes, and two that fill at once do no harm
 *   fill container a random name; its maker fills its own data volume through it
 *
 * Who comes second to the marker removes its own volume and takes the other. A fill that was cut
 * short has no marker: its volume is never used, and removed as a leftover.
 *
 * Until a container mounts it the volume may be removed again: see {@link requireMounted}.
 */
export async function requireModelVolume(
  deps: ModelVolumeDeps,
  request: ModelVolumeRequest,
  signal: AbortSignal,
): Promise<string> {
  const volume = await findOrFill(deps, request, signal);
  await noteModelUse(deps, request.versionId, signal);
  return volume;
}

/**
 * To be called once a container that mounts the volumes (of these kinds, by name) was created: from
 * then on the engine refuses to remove them. A volume that was removed just before that was made anew
 * by the engine, empty and without labels, so that nobody would ever find it: it goes, and the
 * container with it. Throws `volume_absent` then.
 */
export async function requireMounted(
  engine: ContainerEngine,
  container: string,
  kinds: Readonly<Record<string, Kind>>,
): Promise<void> {
  const lost: string[] = [];
  for (const [volume, kind] of Object.entries(kinds)) {
    const mounted = await engine.inspectVolume(volume, uncut);
    if (mounted?.labels[labelNames.kind] !== kind) lost.push(volume);
  }
  if (lost.length === 0) return;
  await engine.removeContainer(container, uncut);
  for (const volume of lost) {
    try {
      await engine.removeVolume(volume, uncut);
    } catch (error) {
      // By another container, whose maker comes here as well.
      if (!isEngineProblem(error, 'in_use')) throw error;
    }
  }
  throw new EngineError('volume_absent', `${lost.join(', ')}: removed before its use`);
}

async function findOrFill(
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

/** Undefined when another is filling, or somebody has removed what was filled. */
async function tryFill(
  deps: ModelVolumeDeps,
  names: ModelNames,
  request: ModelVolumeRequest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { engine } = deps;
  const lock = await takeLock(engine, names, request);
  if (lock === undefined) return undefined;
  try {
    // The one before may have finished between the look and the lock.
    const complete = await findComplete(engine, names, signal);
    return complete ?? (await fill(deps, names, request, signal));
  } finally {
    // By its id: the name may be another's by now.
    await engine.removeContainer(lock, uncut);
  }
}

/** Undefined when another has it. */
async function takeLock(
  engine: ContainerEngine,
  { lock }: ModelNames,
  request: ModelVolumeRequest,
): Promise<string | undefined> {
  if ((await engine.inspectContainer(lock, uncut)) !== undefined) return undefined;
  try {
    return await engine.createContainer(await fillContainer(engine, lock, request, []), uncut);
  } catch (error) {
    if (isEngineProblem(error, 'name_in_use')) return undefined;
    throw error;
  }
}

/** The volume that the marker names in the end: the one filled here, or that of who was faster. */
async function fill(
  { engine, newRandom }: ModelVolumeDeps,
  names: ModelNames,
  request: ModelVolumeRequest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const random = newRandom();
  const volume = names.data(random);
  const container = names.fill(random);
  const mounts = [{ volume, path: fillFolder, readOnly: false }];
  let winner: string | undefined;
  try {
    await engine.createVolume({ name: volume, labels: request.labels('model-data') }, uncut);
    await engine.createContainer(await fillContainer(engine, container, request, mounts), uncut);
    await engine.putArchive(container, fillFolder, await request.openTar(signal), signal);
    await engine.createVolume({ name: names.marker, labels: names.markerLabels(volume) }, uncut);
    winner = await findComplete(engine, names, uncut);
    return winner;
  } finally {
    await engine.removeContainer(container, uncut);
    if (winner !== volume) await engine.removeVolume(volume, uncut);
  }
}

async function fillContainer(
  engine: ContainerEngine,
  name: string,
  { labels }: ModelVolumeRequest,
  mounts: readonly VolumeMount[],
): Promise<ContainerSpec> {
  const image = await requireEmptyImage(engine);
  return stagingContainer({ name, image, labels: labels('model-fill'), mounts });
}

const fillFolder = '/inference-server-fill';
