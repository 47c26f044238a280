import type { WaitingTask } from './policy.js';
import {
  byModel,
  isReady,
  leastRecentlyUsed,
  neededOf,
  wantedOf,
  type HostedVersion,
} from './replica-demand.js';
import type { LivingReplica, Place, ReplicaRoom, Wish } from './replica-room.js';

export interface ReplicaStart extends Place {
  versionId: string;
}

/** Why a replica is not wanted any more. */
export type DrainReason =
  | 'idle'
  | 'evicted'
  | 'model deleted'
  | 'next version serves'
  | 'consumer drained'
  | 'more than max_replicas';

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
 * first: none with a call, none that starts, and none that the calls or the `min_replicas` of its model want.
 * An old version's replica never goes for a next one that has only failed, however long ago that was.
 * `closed` are consumers that get no replicas. Those on a `draining` one are to be elsewhere, and so are those on
 * one that has `left`, which serve till then.
 */
export function planReplicas(
  versions: readonly HostedVersion[],
  room: ReplicaRoom,
  {
    draining,
    left,
    closed,
  }: { draining: ReadonlySet<string>; left: ReadonlySet<string>; closed: ReadonlySet<string> },
): ReplicaPlan {
  const plan: ReplicaPlan = { starts: [], drains: [], keptFor: [], starved: [] };
  const giveUp = (replica: LivingReplica, why: DrainReason): void => {
    plan.drains.push({ id: replica.id, state: replica.state, why });
    room.giveUp(replica);
  };
  const isOnOneOf = (ids: ReadonlySet<string>, { consumerId, lenders }: LivingReplica) =>
    ids.has(consumerId) || lenders.some((id) => ids.has(id));
  const isLeaving = (replica: LivingReplica) =>
    isOnOneOf(draining, replica) || isOnOneOf(left, replica);
  /** Where its replicas are on a consumer that is to be empty they do not count. */
  const lasting = ({ id }: HostedVersion) => room.stayingOf(id).filter((of) => !isLeaving(of));
  const models = byModel(versions);
  /** How many of a version have found room in this pass, now or as soon as others are gone. */
  const placed = new Map<string, number>();
  const host = ({ id, needs }: HostedVersion, place: Place): true => {
    room.host(place, needs);
    placed.set(id, (placed.get(id) ?? 0) + 1);
    return true;
  };
  const olderOf = ({ model }: HostedVersion) => models.get(model)?.older ?? [];
  const oldOf = (version: HostedVersion) =>
    olderOf(version).flatMap(({ id }) => room.stayingOf(id));

  for (const { current, older } of models.values()) {
    for (const replica of older.flatMap(({ id }) => room.stayingOf(id))) {
      if (current === undefined) giveUp(replica, 'model deleted');
      else if (!isReady(replica) && !hasFailed(current)) giveUp(replica, 'next version serves');
    }
    if (current !== undefined && older.length > 0) rollOver(current);
  }

  const current = versions.filter(({ isCurrent }) => isCurrent);
  for (const version of current) {
    letIdleGo(version);
    // A consumer that comes back has brought more than there should be: the calls of those that go end first.
    const all = lasting(version);
    const over = byUse(all).slice(0, Math.max(0, all.length - version.maxReplicas));
    for (const replica of over) giveUp(replica, 'more than max_replicas');
  }

  const idle = evictable(versions, room);
  /** What found no room even without all that may go: nobody with the same needs will in this pass. */
  const hopeless = new Set<string>();
  const urgency = (version: HostedVersion) =>
    version.waiting > 0 && lasting(version).length === 0 ? 0 : version.waiting > 0 ? 1 : 2;
  const urgencies = new Map(current.map((version) => [version, urgency(version)]));
  const byUrgency = current.toSorted((a, b) => (urgencies.get(a) ?? 0) - (urgencies.get(b) ?? 0));
  for (const version of byUrgency) {
    const own = lasting(version);
    const missing = wantedOf(version, olderOf(version), room) - own.length;
    // What fails is tried by one replica at a time.
    const atOnce = hasFailed(version) ? Number(own.every(isReady)) : missing;
    for (let n = 0; n < Math.min(missing, atOnce) && !isPausing(version); n += 1) {
      if (!placeOne(version, n === 0 && own.every(isReady))) break;
    }
  }

  leaveConsumers();
  return plan;

  /** As many old ones go as new ones serve, and those stay that the calls need until all of those do. */
  function rollOver(version: HostedVersion): void {
    const next = lasting(version);
    const serving = next.filter(isReady).length;
    if (serving === 0) return;
    const wanted = Math.max(wantedOf(version, olderOf(version), room), next.length);
    const old = byUse(oldOf(version));
    for (const replica of old.slice(0, Math.max(0, old.length - (wanted - serving)))) {
      giveUp(replica, 'next version serves');
    }
  }

  /**
   * Old ones too, as far as no call needs them: else a next version that does not start would be tried for
   * ever, though nobody calls.
   */
  function letIdleGo(version: HostedVersion): void {
    const isIdle = (of: LivingReplica) => of.inFlight === 0 && of.idleMs >= version.idleTimeoutMs;
    const goneOf = (those: readonly LivingReplica[], surplus: number) =>
      leastRecentlyUsed(those.filter(isIdle)).slice(0, Math.max(0, surplus));
    const older = olderOf(version);
    const serving = lasting(version).filter(isReady);
    const old = oldOf(version).filter((of) => isReady(of) && !isLeaving(of));
    const needed = Math.max(0, neededOf(version, older) - serving.length);
    for (const replica of goneOf(old, old.length - needed)) giveUp(replica, 'idle');
    const surplus = serving.length - wantedOf(version, older, room);
    for (const replica of goneOf(serving, surplus)) giveUp(replica, 'idle');
  }

  /**
   * False: there is no room, and there will be none by itself. `isNext`: an old one of its model may go for it,
   * one at a time: its calls are let end, and others go to the one that is started in its place. None goes for
   * a version that has failed: nothing might serve then. A model of which nothing serves does not wait for the
   * calls of others either, where idle ones could go.
   */
  function placeOne(version: HostedVersion, isNext: boolean): boolean {
    const { needs } = version;
    const anywhere: Wish = { needs, kind: 'runtime', isAllowed: (id) => !closed.has(id) };
    const elsewhere: Wish = {
      ...anywhere,
      isAllowed: (id) => anywhere.isAllowed(id) && id !== version.failedOn,
    };
    const start = room.findNow(elsewhere) ?? room.findNow(anywhere);
    if (start !== undefined) {
      plan.starts.push({ versionId: version.id, ...start });
      return host(version, start);
    }
    const old = oldOf(version);
    const isUrgent = version.waiting > 0 && room.stayingOf(version.id).length + old.length === 0;
    const soon: Wish = { ...anywhere, isUrgent };
    const later = room.findLater(soon);
    if (later !== undefined) return host(version, later);
    const mayTakeOld = !hasFailed(version);
    const next = isNext && mayTakeOld ? leastRecentlyUsed(old) : [];
    const kind = JSON.stringify([needs, isUrgent]);
    if (next.length > 0 || !hopeless.has(kind)) {
      const notAmong = mayTakeOld ? next : old;
      const others = idle.filter((r) => room.isStaying(r) && !notAmong.includes(r));
      const made = room.findByEvicting(soon, [...others, ...next]);
      if (made !== undefined) {
        for (const replica of made.evicted) giveUp(replica, 'evicted');
        return host(version, made.place);
      }
      if (mayTakeOld || old.length === 0) hopeless.add(kind);
    }
    const atLast = isUrgent ? room.findLater(anywhere) : undefined;
    if (atLast !== undefined) return host(version, atLast);
    plan.starved.push(version.id);
    if (version.waiting > 0 && lasting(version).length === 0) {
      plan.keptFor.push(...room.leastBusy(anywhere));
    }
    return false;
  }

  /**
   * On a consumer that is to be empty one stays for each that comes in its place, and what the calls need as long
   * as that has failed and is tried again: what nobody calls goes, however often that is. On one that has left
   * what the model is to have stays until others serve, an old version's one too, be it called or not.
   */
  function leaveConsumers(): void {
    for (const version of versions) {
      const leaving = room.stayingOf(version.id).filter(isLeaving);
      if (leaving.length === 0) continue;
      const heir = models.get(version.model)?.current;
      const heirs = heir === undefined ? [] : lasting(heir);
      const serving = heirs.filter(isReady).length;
      const coming = heirs.length - serving + (placed.get(heir?.id ?? '') ?? 0);
      const called = Number(leaving.some(({ idleMs }) => idleMs < restMs));
      const older = olderOf(version);
      const needed = heir && Math.max(neededOf(heir, older), called) - serving;
      const wanted = heir && Math.max(wantedOf(heir, older, room), called) - serving;
      const isTried =
        heir !== undefined &&
        (isPausing(heir) || ((hasFailed(heir) || heir.losses > 0) && coming > 0));
      const [drained, away] = [
        leaving.filter((of) => isOnOneOf(draining, of)),
        leaving.filter((of) => !isOnOneOf(draining, of)),
      ];
      const spare = ({ length }: LivingReplica[], least = 0) =>
        Math.max(0, length - Math.max(coming, least));
      const going = [
        ...leastRecentlyUsed(drained).slice(0, spare(drained, isTried ? needed : 0)),
        ...leastRecentlyUsed(away).slice(0, spare(away, wanted)),
      ];
      for (const replica of going) giveUp(replica, 'consumer drained');
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
  const idle = evictable(versions, room);
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
    const left = idle.filter(room.isStaying);
    if (left.length === 0) break;
    const made = room.findByEvicting(wish, left);
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

/**
 * Those that may be given up for others: least recently used first. One that starts is not, however long that
 * takes: it would never serve where two have room for one.
 */
export function evictable(versions: readonly HostedVersion[], room: ReplicaRoom): LivingReplica[] {
  const idle: LivingReplica[] = [];
  for (const { current, older } of byModel(versions).values()) {
    const own = current === undefined ? [] : room.stayingOf(current.id).filter(isReady);
    const old = older.flatMap(({ id }) => room.stayingOf(id)).filter(isReady);
    const needed = current === undefined ? 0 : neededOf(current, older);
    const wanted = current === undefined ? 0 : wantedOf(current, older, room);
    const waits = [current, ...older].some((version) => (version?.waiting ?? 0) > 0);
    if (waits) continue;
    idle.push(...spareOf(own, own.length - wanted));
    idle.push(...spareOf(old, old.length - Math.max(0, needed - own.length)));
  }
  return leastRecentlyUsed(idle);
}

/** Whether it has failed, or was lost, so lately that it is not tried now. */
function isPausing({ failedMsAgo, failures, losses }: HostedVersion): boolean {
  return (failedMsAgo ?? Infinity) < pauseMs(failures + losses);
}

/** Whether it might not serve: lately, or when it was last tried, be that long ago. */
function hasFailed({ failures, hasOnlyFailed }: HostedVersion): boolean {
  return failures > 0 || hasOnlyFailed;
}

/** What starts comes first, then what has the fewest calls, or the oldest. */
function byUse(replicas: readonly LivingReplica[]): LivingReplica[] {
  return replicas.toSorted(
    (a, b) =>
      Number(isReady(a)) - Number(isReady(b)) || a.inFlight - b.inFlight || b.idleMs - a.idleMs,
  );
}

function spareOf(own: readonly LivingReplica[], spare: number): LivingReplica[] {
  const resting = own.filter(({ inFlight, idleMs }) => inFlight === 0 && idleMs >= restMs);
  return leastRecentlyUsed(resting).slice(0, Math.max(0, spare));
}
