import { isEngineProblem, type Volume } from '@inference-server/container-engine';
import { maxModelVersionIds } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { nothing, type Amount, type Logger, type Sweep } from '@inference-server/service-kit';
import { lastUse, noteModelUse, type ModelUseDeps } from './model-volume-use.js';
import { isComplete } from './model-volume.js';
import { labelNames } from './names.js';
import type { PrivateApiClient } from './private-api-client.js';

export interface ModelVolumeLimits {
  /** How long files stay that no task uses (ms). */
  maxAgeMs: number;
  /** What the files of all models may take together. 0: as much as they like. */
  maxBytes: number;
}

export interface ModelVolumeSweepDeps extends ModelUseDeps {
  api: Pick<PrivateApiClient, 'unusedModelVersions'>;
  logger: Logger;
}

/** A volume with the files of a model version, as its marker names it. */
interface ModelVolume {
  versionId: string;
  volume: string;
  usedAt: Date;
}

type Reason = 'no task can need it' | 'not used for long' | 'over the limit in bytes';

/** What a look at the engine finds. */
interface Found {
  /** The complete ones, with their last use: now where none was noted. */
  volumes: ModelVolume[];
  /** The versions without a noted use. */
  unnoted: string[];
  /** Halves of earlier removals: markers whose volume is gone, and uses that tell of none. */
  markers: Pick<ModelVolume, 'versionId' | 'volume'>[];
  uses: string[];
}

/**
 * Removes model volumes from the engine: of versions that private-api says are of no use, of versions
 * that were not used for long, and, least recently used first, what is over the limit in bytes.
 * Several consumers of one engine may do so at once, beside others that fill and use.
 *
 * The data volume goes first: the engine refuses that, in one step, while a container has it, and
 * then nothing has changed. A marker that names a volume which is gone is no hindrance to anyone (see
 * model-volume.ts) and goes next, or, when the process ends in between, with the next sweep. What is
 * not complete has no marker and is not looked at here. Who found a volume complete, and mounts it
 * when it is gone, hears so from `requireMounted`. Counted are data volumes alone.
 */
export function sweepModelVolumes(deps: ModelVolumeSweepDeps, limits: ModelVolumeLimits): Sweep {
  const { engine, names, logger } = deps;
  return {
    name: 'model-volumes',
    what: 'files of models that no task needs, not used for long, or over the limit',
    async look(signal) {
      const { volumes } = await listModelVolumes(deps, signal);
      const containers = await engine.listContainers(names.installation, signal);
      const inUse = new Set(containers.flatMap((container) => container.volumes));
      return removeDue(deps, limits, volumes, async ({ volume }) => !inUse.has(volume), signal);
    },
    async take(signal) {
      const { volumes, unnoted, markers, uses } = await listModelVolumes(deps, signal);
      for (const marker of markers) await removeMarker(deps, marker, signal);
      for (const name of uses) await engine.removeVolume(name, signal);
      for (const versionId of unnoted) await noteModelUse(deps, versionId, signal);
      const remove: Remove = async (volume, why, bytes) => {
        if (!(await removeModelVolume(deps, volume, signal))) return false;
        const { versionId, volume: name } = volume;
        logger.info(
          { modelVersion: versionId, volume: name, bytes, why },
          'removed a model volume',
        );
        return true;
      };
      return { ...(await removeDue(deps, limits, volumes, remove, signal)), more: false };
    },
  };
}

/** False when it stays: a container has it. */
type Remove = (volume: ModelVolume, why: Reason, bytes: number | undefined) => Promise<boolean>;

/** Has `remove` take what is due, and says how much that was. */
async function removeDue(
  deps: ModelVolumeSweepDeps,
  { maxAgeMs, maxBytes }: ModelVolumeLimits,
  volumes: readonly ModelVolume[],
  remove: Remove,
  signal: AbortSignal,
): Promise<Amount> {
  const unused = await askForUnused(deps, volumes, signal);
  const oldest = deps.now().getTime() - maxAgeMs;
  const doomed = new Map<ModelVolume, Reason>();
  for (const volume of volumes) {
    if (unused.has(volume.versionId)) doomed.set(volume, 'no task can need it');
    else if (volume.usedAt.getTime() < oldest) doomed.set(volume, 'not used for long');
  }
  if (doomed.size === 0 && (maxBytes === 0 || volumes.length === 0)) return nothing;
  const sizes = await deps.engine.measureVolumes(signal);
  const sizeOf = ({ volume }: ModelVolume) => sizes.get(volume) ?? 0;
  const total = volumes.reduce((sum, volume) => sum + sizeOf(volume), 0);
  let { count, bytes } = nothing;
  const take = async (volume: ModelVolume, why: Reason) => {
    if (!(await remove(volume, why, sizes.get(volume.volume)))) return;
    count += 1;
    bytes += sizeOf(volume);
  };
  for (const [volume, why] of doomed) await take(volume, why);
  if (maxBytes === 0) return { count, bytes };
  const left = volumes.filter((volume) => !doomed.has(volume));
  for (const volume of left.sort((a, b) => a.usedAt.getTime() - b.usedAt.getTime())) {
    if (total - bytes > maxBytes) await take(volume, 'over the limit in bytes');
  }
  return { count, bytes };
}

async function listModelVolumes(deps: ModelVolumeSweepDeps, signal: AbortSignal): Promise<Found> {
  const { engine, names } = deps;
  // In this order: a data volume is there before its marker is.
  const markers = await engine.listVolumes(names.ofAll('model'), signal);
  const data = await engine.listVolumes(names.ofAll('model-data'), signal);
  const uses = await engine.listVolumes(names.ofAll('model-use'), signal);
  const isThere = new Set(data.map(({ name }) => name));
  const usesOf = new Map(uses.map((use) => [versionOf(use), use]));
  const found: Found = { volumes: [], unnoted: [], markers: [], uses: [] };
  for (const marker of markers) {
    const versionId = versionOf(marker);
    const volume = marker.labels[labelNames.volume] ?? '';
    if (!isThere.has(volume)) {
      found.markers.push({ versionId, volume });
      continue;
    }
    const use = usesOf.get(versionId);
    usesOf.delete(versionId);
    const usedAt = use && lastUse(use);
    if (usedAt === undefined) found.unnoted.push(versionId);
    found.volumes.push({ versionId, volume, usedAt: usedAt ?? deps.now() });
  }
  found.uses.push(...[...usesOf.values()].map(({ name }) => name));
  return found;
}

/** Throws CONFLICT when private-api is another installation's by now: it knows none of these. */
async function askForUnused(
  { api, names }: ModelVolumeSweepDeps,
  volumes: readonly ModelVolume[],
  signal: AbortSignal,
): Promise<Set<string>> {
  const unused = new Set<string>();
  for (let at = 0; at < volumes.length; at += maxModelVersionIds) {
    const ids = volumes.slice(at, at + maxModelVersionIds).map(({ versionId }) => versionId);
    const answer = await api.unusedModelVersions(ids, signal);
    if (answer.installation_id !== names.installation[labelNames.installation]) {
      throw new AppError('CONFLICT', 'private-api belongs to another installation now.');
    }
    for (const id of answer.unused) unused.add(id);
  }
  return unused;
}

/** False when a container has it. */
async function removeModelVolume(
  deps: ModelVolumeSweepDeps,
  { versionId, volume }: ModelVolume,
  signal: AbortSignal,
): Promise<boolean> {
  const { engine, names } = deps;
  try {
    await engine.removeVolume(volume, signal);
  } catch (error) {
    if (!isEngineProblem(error, 'in_use')) throw error;
    await noteModelUse(deps, versionId, signal);
    return false;
  }
  await removeMarker(deps, { versionId, volume }, signal);
  await engine.removeVolume(names.model(versionId).use, signal);
  return true;
}

/**
 * Looks once more: another may have filled anew meanwhile. Were that to happen right after the look,
 * its files would be brought once more.
 */
async function removeMarker(
  { engine, names }: ModelVolumeSweepDeps,
  { versionId, volume }: Pick<ModelVolume, 'versionId' | 'volume'>,
  signal: AbortSignal,
): Promise<void> {
  if (!(await isComplete({ engine, names }, versionId, volume, signal))) return;
  await engine.removeVolume(names.model(versionId).marker, signal);
}

function versionOf({ labels }: Volume): string {
  return labels[labelNames.modelVersion] ?? '';
}
