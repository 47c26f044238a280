import type { Needs } from '@inference-server/contracts';
import type { LivingReplica, ReplicaRoom } from './replica-room.js';

/** A version of a runtime model that is current, or has replicas. */
export interface HostedVersion {
  id: string;
  model: string;
  number: number;
  needs: Needs;
  /** Of a model that is not deleted: the version that is to be hosted. */
  isCurrent: boolean;
  minReplicas: number;
  maxReplicas: number;
  idleTimeoutMs: number;
  targetInFlight: number;
  /** Calls, as the gateways said lately. */
  waiting: number;
  inFlight: number;
  /** How many of its replicas have failed in a row, and how often some were lost with their consumer. */
  failures: number;
  losses: number;
  /** When and where that was last. */
  failedMsAgo: number | null;
  failedOn: string | null;
  /** The last one that ended failed, however long ago, and none has served since. */
  hasOnlyFailed: boolean;
  /** As it is noted: a replica that it is to have finds no room. */
  hasNoRoom: boolean;
}

/** The versions of one model: the one that is to be hosted, and older ones that have replicas still. */
export interface HostedModelVersions {
  /** Undefined: the model is deleted. */
  current: HostedVersion | undefined;
  older: HostedVersion[];
}

/** By model. */
export function byModel(versions: readonly HostedVersion[]): Map<string, HostedModelVersions> {
  const models = new Map<string, HostedModelVersions>();
  for (const version of versions) {
    const of = models.get(version.model) ?? { current: undefined, older: [] };
    if (version.isCurrent) of.current = version;
    else of.older.push(version);
    models.set(version.model, of);
  }
  return models;
}

/** How many replicas the calls of a model need, of whatever version, within the bounds of the current one. */
export function neededOf(current: HostedVersion, older: readonly HostedVersion[]): number {
  const calls = [current, ...older].reduce(
    (sum, { waiting, inFlight }) => sum + waiting + inFlight,
    0,
  );
  const needed = Math.max(current.minReplicas, Math.ceil(calls / current.targetInFlight));
  return Math.min(needed, current.maxReplicas);
}

/**
 * How many replicas a current version is to have. As long as an older one has some it has one at least, and
 * those that the calls of both need: it takes them over.
 */
export function wantedOf(
  current: HostedVersion,
  older: readonly HostedVersion[],
  room: ReplicaRoom,
): number {
  const rolling = older.filter(({ id }) => room.stayingOf(id).length > 0);
  const least = Math.min(rolling.length, 1, current.maxReplicas);
  return Math.max(least, neededOf(current, rolling));
}

export function isReady({ state }: LivingReplica): boolean {
  return state === 'READY';
}

export function leastRecentlyUsed(replicas: readonly LivingReplica[]): LivingReplica[] {
  return replicas.toSorted((a, b) => b.idleMs - a.idleMs);
}
