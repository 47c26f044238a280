import type { GatewayNews, GatewayReport } from '@inference-server/contracts';
import { openGrpcConnection, type GrpcConnection } from '@inference-server/grpc';

/** A replica that calls may go to, or went to. */
export interface Replica {
  readonly id: string;
  readonly modelVersionId: string;
  readonly connection: GrpcConnection;
  inFlight: number;
}

export interface ReplicaSet {
  apply(news: GatewayNews): void;
  /** Whether a version has any that takes calls, be it busy. */
  hasAny(modelVersionId: string): boolean;
  /** Whether calls may count on those of a version. */
  reachOf(modelVersionId: string): Reach;
  /**
   * The one with the fewest calls, fewer than `most`, with one more call; undefined: there is none. One that has
   * let a call of its wait in vain a moment ago, or has answered none of its calls for seconds, is behind the others.
   */
  take(modelVersionId: string, most: number): Replica | undefined;
  /** A call is over. */
  give(replica: Replica, end: CallEnd): void;
  holds(): GatewayReport['holds'];
  inFlightOf(): ReadonlyMap<string, number>;
  close(): void;
}

/**
 * How a call ended. `unasked`: it was not made. `unreached`: the replica never took it, and is asked no more for a
 * moment. `unanswered`: it was made at `since` (performance.now()) and ended otherwise, as when its caller waits no
 * longer.
 */
export type CallEnd =
  | { is: 'answered' | 'unasked' }
  | { is: 'unreached'; failure: Error }
  | { is: 'unanswered'; since: number };

/**
 * `taking`: one of them took its last call, or was given none yet. `doubtful`: none did, and one is asked again
 * just now. `unreached`: none of them is asked for a moment.
 */
export interface Reach {
  is: 'taking' | 'doubtful' | 'unreached';
  /** Why the last one could not be reached. */
  failure?: Error | undefined;
}

interface Known extends Replica {
  readonly address: string;
  idleSince: number | undefined;
  /** It stands in the news no more: it keeps its calls, and gets no others. */
  isDropped: boolean;
  suspendedUntil: number;
  failures: number;
  lastFailure?: Error;
  answeredAt: number;
  /** Since when it has had calls at all times. */
  busySince: number;
  /** Calls have waited for it in vain since it last answered, so many times. */
  silences: number;
  silentUntil: number;
}

/** A host that answers nobody for so long is gone. How long a replica takes for a call is no matter. */
const hostGoneMs = 30_000;
const lookedForEveryMs = 60_000;
const longestPauseMs = 2_000;
/** One call that ended without an answer says little: who waited for it may have been in a hurry. */
const silenceMs = 5_000;
const longestSilenceMs = 60_000;
/** Without an answer to any of its calls a replica may be frozen; its system takes what it is sent all the same. */
const quietMs = 5_000;

/**
 * The replicas that private-api last named, and those that it names no more while they have calls. `onChange`:
 * one may take calls again, or is let go of, which private-api waits for (`isNews`).
 */
export function createReplicaSet(onChange: (isNews: boolean) => void): ReplicaSet {
  /** By id and address: a container that was not found again is replaced in its row. */
  const known = new Map<string, Known>();
  const byVersion = new Map<string, Set<Known>>();
  const pauses = new Set<NodeJS.Timeout>();
  const looking = setInterval(() => {
    for (const { connection } of known.values()) connection.probe(hostGoneMs);
  }, lookedForEveryMs);
  looking.unref();

  function add(id: string, modelVersionId: string, address: string): Known {
    const replica: Known = {
      ...{ id, modelVersionId, address, inFlight: 0, idleSince: undefined },
      ...{ isDropped: false, suspendedUntil: 0, failures: 0 },
      ...{ answeredAt: -Infinity, busySince: 0, silences: 0, silentUntil: 0 },
      connection: openGrpcConnection(address),
    };
    known.set(keyOf(id, address), replica);
    const others = byVersion.get(modelVersionId) ?? new Set();
    byVersion.set(modelVersionId, others.add(replica));
    return replica;
  }

  function letGo(replica: Known): void {
    replica.connection.close();
    known.delete(keyOf(replica.id, replica.address));
    const others = byVersion.get(replica.modelVersionId);
    others?.delete(replica);
    if (others?.size === 0) byVersion.delete(replica.modelVersionId);
  }

  function resumeIn(replica: Known, pauseMs: number): void {
    const pause = setTimeout(() => {
      pauses.delete(pause);
      // A timer counts from the beginning of the event loop's turn: it may come too early.
      const leftMs = replica.suspendedUntil - performance.now();
      if (leftMs > 0) resumeIn(replica, leftMs);
      else onChange(false);
    }, pauseMs + 1);
    pauses.add(pause);
  }

  function suspend(replica: Known, failure: Error): void {
    replica.lastFailure = failure;
    // Calls that were on their way together are one try.
    if (replica.suspendedUntil > performance.now()) return;
    const pauseMs = Math.min(100 * 2 ** replica.failures, longestPauseMs);
    replica.suspendedUntil = performance.now() + pauseMs;
    replica.failures += 1;
    resumeIn(replica, pauseMs);
  }

  /** For longer each time: one that is frozen costs a call each time. */
  function putBehind(replica: Known): void {
    const now = performance.now();
    if (replica.silentUntil > now) return;
    replica.silentUntil = now + Math.min(silenceMs * 2 ** replica.silences, longestSilenceMs);
    replica.silences += 1;
  }

  return {
    apply({ replicas }) {
      const named = new Set<Known>();
      for (const { id, model_version_id: version, address } of replicas) {
        const one = known.get(keyOf(id, address)) ?? add(id, version, address);
        one.isDropped = false;
        named.add(one);
      }
      for (const replica of [...known.values()]) {
        if (named.has(replica) || replica.isDropped) continue;
        replica.isDropped = true;
        if (replica.inFlight === 0) letGo(replica);
        // Its consumer may be gone, and its host with it.
        else replica.connection.probe(hostGoneMs);
      }
    },

    hasAny(modelVersionId) {
      for (const { isDropped } of byVersion.get(modelVersionId) ?? []) if (!isDropped) return true;
      return false;
    },

    reachOf(modelVersionId) {
      const reach: Reach = { is: 'unreached' };
      const now = performance.now();
      for (const replica of byVersion.get(modelVersionId) ?? []) {
        if (replica.isDropped) continue;
        if (replica.failures === 0) return { is: 'taking' };
        reach.failure = replica.lastFailure;
        if (replica.suspendedUntil <= now) reach.is = 'doubtful';
      }
      return reach;
    },

    take(modelVersionId, most) {
      let least: Known | undefined;
      const now = performance.now();
      for (const replica of byVersion.get(modelVersionId) ?? []) {
        if (replica.isDropped || replica.inFlight >= most || replica.suspendedUntil > now) continue;
        if (least === undefined || comesBefore(replica, least, now)) least = replica;
      }
      if (least === undefined) return undefined;
      if (least.inFlight === 0) least.busySince = now;
      least.inFlight += 1;
      least.idleSince = undefined;
      return least;
    },

    give(replica, end) {
      const one = replica as Known;
      one.inFlight -= 1;
      if (end.is === 'answered') {
        [one.failures, one.silences, one.silentUntil] = [0, 0, 0];
        one.answeredAt = performance.now();
      } else if (end.is === 'unreached') {
        suspend(one, end.failure);
      } else if (end.is === 'unanswered' && one.answeredAt < end.since) {
        putBehind(one);
      }
      if (one.inFlight > 0) return;
      one.idleSince = performance.now();
      if (!one.isDropped) return;
      letGo(one);
      onChange(true);
    },

    holds() {
      const now = performance.now();
      const holds = new Map<string, GatewayReport['holds'][number]>();
      for (const { id, inFlight, idleSince, isDropped } of known.values()) {
        const idleS = idleSince === undefined ? null : (now - idleSince) / 1000;
        const before = holds.get(id);
        if (before === undefined) {
          holds.set(id, { replica_id: id, in_flight: inFlight, idle_s: idleS });
        } else {
          before.in_flight += inFlight;
          if (before.in_flight > 0) before.idle_s = null;
          else if (!isDropped) before.idle_s = idleS;
        }
      }
      return [...holds.values()];
    },

    inFlightOf() {
      const counts = new Map<string, number>();
      for (const { modelVersionId, inFlight } of known.values()) {
        counts.set(modelVersionId, (counts.get(modelVersionId) ?? 0) + inFlight);
      }
      return counts;
    },

    close() {
      clearInterval(looking);
      for (const pause of pauses) clearTimeout(pause);
      for (const replica of [...known.values()]) letGo(replica);
    },
  };
}

/** Of those that have equally few the first, always: the others may become idle, and go. */
function comesBefore(one: Known, other: Known, now: number): boolean {
  const isBehind = isSilent(other, now);
  if (isSilent(one, now) !== isBehind) return isBehind;
  return one.inFlight < other.inFlight;
}

function isSilent({ silentUntil, inFlight, busySince, answeredAt }: Known, now: number): boolean {
  if (silentUntil > now) return true;
  return inFlight > 0 && now - Math.max(busySince, answeredAt) > quietMs;
}

function keyOf(id: string, address: string): string {
  return `${id} ${address}`;
}
