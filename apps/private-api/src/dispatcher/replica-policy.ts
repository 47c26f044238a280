import type { Needs } from '@inference-server/contracts';
import type { WaitingTask } from './policy.js';
import {
  isKept,
  type LivingReplica,
  type Place,
  type ReplicaRoom,
  type Wish,
} from './replica-room.js';

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
  /** As it is noted: a replica that it is to have finds no room. */
  hasNoRoom: boolean;
}

export interface ReplicaStart extends Place {
  versionId: string;
}

/** Why a replica is not wanted any more. */
export type DrainReason =
  'idle' | 'evicted' | 'model deleted' | 'next version serves' | 'consumer drained';

export interface ReplicaDrain {
  id: string;
  /** As it was decided upon. */
  state: LivingReplica['state'];
  why: DrainReason;
}

export interface ReplicaPlan {
  starts: ReplicaStart[];
  drains: ReplicaDrain[];
  /** Consumers that are given no tickets, so that a model that waits and has no replica finds room there. */
  keptFor: string[];
  /** Versions that are to have a replica for which there is no room, and none will be by itself. */
  starved: string[];
}

/** One whose last call was so lately is not given up for others: calls come in quick succession. */
export const restMs = 2_000;

/** How long a version pauses after so many failures and losses in a row. */
export function pauseMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(2 ** (failures - 1), 60) * 1_000;
}

/**
 * Which replicas are to be started, and which to be let go. Pure, but for what it enters in `room`.
 *
 * A version has as many as its calls need, within its bounds; more of them stay until they have been idle for
 * its time-out. What finds no room waits for what goes, or has idle ones of others go, the least recently used
 * first: none with a call, and none that the calls or the `min_replicas` of its version want.
 * `closed` are consumers that get no replicas.
 */
export function planReplicas(
  versions: readonly HostedVersion[],
  room: ReplicaRoom,
  { draining, closed }: { draining: ReadonlySet<string>; closed: ReadonlySet<string> },
): ReplicaPlan {
  const plan: ReplicaPlan = { starts: [], drains: [], keptFor: [], starved: [] };
  const giveUp = (replica: LivingReplica, why: DrainReason): void => {
    plan.drains.push({ id: replica.id, state: replica.state, why });
    room.giveUp(replica);
  };
  /** Where their replicas are on a consumer that is to be empty they do not count. */
  const lasting = ({ id }: HostedVersion) =>
    room
      .staying()
      .filter(({ versionId, consumerId, lenders }) =>
        versionId === id ? ![consumerId, ...lenders].some((on) => draining.has(on)) : false,
      );
  const currentOf = new Map(versions.filter(({ isCurrent }) => isCurrent).map((v) => [v.model, v]));

  for (const version of versions.filter(({ isCurrent }) => !isCurrent)) {
    const current = currentOf.get(version.model);
    const isReplaced = current !== undefined && lasting(current).some(isReady);
    for (const replica of room.staying().filter(({ versionId }) => versionId === version.id)) {
      if (current === undefined) giveUp(replica, 'model deleted');
      else if (isReplaced || !isReady(replica)) giveUp(replica, 'next version serves');
    }
  }

  const current = versions.filter(({ isCurrent }) => isCurrent);
  for (const version of current) {
    const own = lasting(version);
    const surplus = own.length - wantedOf(version, versions, room);
    const idle = own.filter((r) => r.inFlight === 0 && r.idleMs >= version.idleTimeoutMs);
    for (const replica of leastRecentlyUsed(idle).slice(0, Math.max(0, surplus))) {
      giveUp(replica, 'idle');
    }
  }

  const urgency = (version: HostedVersion) =>
    version.waiting > 0 && lasting(version).length === 0 ? 0 : version.waiting > 0 ? 1 : 2;
  const byUrgency = current.toSorted((a, b) => urgency(a) - urgency(b));
  for (const version of byUrgency) {
    const own = lasting(version);
    const missing = wantedOf(version, versions, room) - own.length;
    const isPausing =
      (version.failedMsAgo ?? Infinity) < pauseMs(version.failures + version.losses);
    // What fails is tried by one replica at a time.
    const atOnce = version.failures === 0 ? missing : own.every(isReady) ? 1 : 0;
    for (let n = 0; n < Math.min(missing, atOnce) && !isPausing; n += 1) {
      if (!placeOne(version)) break;
    }
  }

  leaveDrained();
  return plan;

  /** False: there is no room, and there will be none by itself. */
  function placeOne(version: HostedVersion): boolean {
    const { needs } = version;
    const anywhere: Wish = { needs, kind: 'runtime', isAllowed: (id) => !closed.has(id) };
    const elsewhere: Wish = {
      ...anywhere,
      isAllowed: (id) => anywhere.isAllowed(id) && id !== version.failedOn,
    };
    const start = room.findNow(elsewhere) ?? room.findNow(anywhere);
    if (start !== undefined) {
      room.host(start, needs);
      plan.starts.push({ versionId: version.id, ...start });
      return true;
    }
    const later = room.findLater(anywhere);
    if (later !== undefined) {
      room.host(later, needs);
      return true;
    }
    const old = room.staying().filter((replica) => isOldOf(version, replica));
    const made = room.findByEvicting(anywhere, [...evictable(versions, room, version.id), ...old]);
    if (made !== undefined) {
      for (const replica of made.evicted) giveUp(replica, 'evicted');
      room.host(made.place, needs);
      return true;
    }
    plan.starved.push(version.id);
    if (version.waiting > 0 && lasting(version).length === 0) {
      plan.keptFor.push(...room.leastBusy(anywhere));
    }
    return false;
  }

  /** Its calls are let end, which then go to the replica that is started in its place. */
  function isOldOf({ model }: HostedVersion, { versionId }: LivingReplica): boolean {
    return versions.some((v) => v.id === versionId && v.model === model && !v.isCurrent);
  }

  /** On a consumer that is to be empty one stays as long as another comes in its place. */
  function leaveDrained(): void {
    for (const version of versions) {
      const heir = currentOf.get(version.model);
      const heirs = heir === undefined ? [] : lasting(heir);
      const isComing =
        !heirs.some(isReady) &&
        (heirs.length > 0 || plan.starts.some(({ versionId }) => versionId === heir?.id));
      if (isComing) continue;
      const kept = new Set(lasting(version));
      const left = room.staying().filter((r) => r.versionId === version.id && !kept.has(r));
      for (const replica of left) giveUp(replica, 'consumer drained');
    }
  }
}

/**
 * The idle replicas that tasks which fit nowhere are to have the room of, now that every ticket is given
 * out; and on which consumers. Tasks come oldest first.
 */
export function makeRoomForTasks(
  tasks: readonly WaitingTask[],
  versions: readonly HostedVersion[],
  room: ReplicaRoom,
): { drains: ReplicaDrain[]; promised: string[] } {
  const drains: ReplicaDrain[] = [];
  const promised: string[] = [];
  for (const task of tasks) {
    const { needs, seq, lastConsumerId, shunsLast } = task;
    const wish: Wish = {
      needs,
      kind: 'batch',
      isAllowed: (id) => !shunsLast || id !== lastConsumerId,
    };
    const later = room.findLater(wish);
    if (later !== undefined) {
      room.run({ ...later, seq, needs });
      continue;
    }
    const idle = evictable(versions, room);
    if (idle.length === 0) break;
    const made = room.findByEvicting(wish, idle);
    if (made === undefined) continue;
    for (const replica of made.evicted) {
      drains.push({ id: replica.id, state: replica.state, why: 'evicted' });
      room.giveUp(replica);
    }
    room.run({ ...made.place, seq, needs });
    promised.push(made.place.consumerId, ...made.place.lenders);
  }
  return { drains, promised };
}

/** Those that may be given up for others, but not for the version `but`: least recently used first. */
export function evictable(
  versions: readonly HostedVersion[],
  room: ReplicaRoom,
  but?: string,
): LivingReplica[] {
  const staying = room.staying();
  const idle = versions.flatMap((version) => {
    if (version.id === but || version.waiting > 0) return [];
    const own = staying.filter(({ versionId }) => versionId === version.id);
    const spare = own.length - (version.isCurrent ? wantedOf(version, versions, room) : 0);
    const resting = own.filter(({ inFlight, idleMs }) => inFlight === 0 && idleMs >= restMs);
    return leastRecentlyUsed(resting).slice(0, Math.max(0, spare));
  });
  return leastRecentlyUsed(idle);
}

/**
 * How many replicas a current version is to have. As long as an older one has some it has one at least, and
 * those that the calls of both need: it takes them over.
 */
function wantedOf(
  version: HostedVersion,
  versions: readonly HostedVersion[],
  room: ReplicaRoom,
): number {
  const older = versions.filter(({ model, isCurrent }) => model === version.model && !isCurrent);
  const isRolling = room
    .staying()
    .some(({ versionId }) => older.some(({ id }) => id === versionId));
  const of = isRolling ? [version, ...older] : [version];
  const calls = of.reduce((sum, { waiting, inFlight }) => sum + waiting + inFlight, 0);
  const least = Math.max(version.minReplicas, isRolling ? 1 : 0);
  const needed = Math.max(least, Math.ceil(calls / version.targetInFlight));
  return Math.min(needed, version.maxReplicas);
}

function isReady({ state }: LivingReplica): boolean {
  return state === 'READY';
}

function leastRecentlyUsed(replicas: readonly LivingReplica[]): LivingReplica[] {
  return replicas.filter(({ state }) => isKept(state)).toSorted((a, b) => b.idleMs - a.idleMs);
}
