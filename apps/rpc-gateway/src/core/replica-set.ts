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
  /** The one with the fewest calls, fewer than `most`, with one more call; undefined: there is none. */
  take(modelVersionId: string, most: number): Replica | undefined;
  /** A call is over. One that could not be reached (`failure`) is asked no more for a moment. */
  give(replica: Replica, failure?: Error): void;
  holds(): GatewayReport['holds'];
  inFlightOf(): ReadonlyMap<string, number>;
  close(): void;
}

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
  idleSince: number | undefined;
  /** It stands in the news no more: it keeps its calls, and gets no others. */
  isDropped: boolean;
  suspendedUntil: number;
  failures: number;
  lastFailure?: Error;
}

/** A peer that is silent for so long after it was dropped, or looked for, is gone with its host. */
const silentMs = 10_000;
/** Servers of other makers let nobody look for them more often. */
const lookedForEveryMs = 301_000;
const longestPauseMs = 2_000;

/**
 * The replicas that private-api last named, and those that it names no more while they have calls. `onChange`:
 * one may take calls again, or is let go of, which private-api waits for (`isNews`).
 */
export function createReplicaSet(onChange: (isNews: boolean) => void): ReplicaSet {
  const known = new Map<string, Known>();
  const byVersion = new Map<string, Set<Known>>();
  const pauses = new Set<NodeJS.Timeout>();
  const looking = setInterval(() => {
    for (const { connection } of known.values()) connection.probe(silentMs);
  }, lookedForEveryMs);
  looking.unref();

  function add(id: string, modelVersionId: string, address: string): void {
    const replica: Known = {
      ...{ id, modelVersionId, inFlight: 0, idleSince: undefined },
      ...{ isDropped: false, suspendedUntil: 0, failures: 0 },
      connection: openGrpcConnection(address),
    };
    known.set(id, replica);
    const others = byVersion.get(modelVersionId) ?? new Set();
    byVersion.set(modelVersionId, others.add(replica));
  }

  function letGo(replica: Known): void {
    replica.connection.close();
    known.delete(replica.id);
    const others = byVersion.get(replica.modelVersionId);
    others?.delete(replica);
    if (others?.size === 0) byVersion.delete(replica.modelVersionId);
  }

  function suspend(replica: Known, failure: Error): void {
    replica.lastFailure = failure;
    const pauseMs = Math.min(100 * 2 ** replica.failures, longestPauseMs);
    replica.suspendedUntil = performance.now() + pauseMs;
    replica.failures += 1;
    const pause = setTimeout(() => {
      pauses.delete(pause);
      onChange(false);
    }, pauseMs + 1);
    pauses.add(pause);
  }

  return {
    apply({ replicas }) {
      const named = new Set(replicas.map(({ id }) => id));
      for (const { id, model_version_id: version, address } of replicas) {
        const before = known.get(id);
        if (before === undefined) add(id, version, address);
        else before.isDropped = false;
      }
      for (const replica of known.values()) {
        if (named.has(replica.id) || replica.isDropped) continue;
        replica.isDropped = true;
        if (replica.inFlight === 0) letGo(replica);
        else replica.connection.probe(silentMs);
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
        // Of those that have equally few the first, always: the others may become idle, and go.
        if (least === undefined || replica.inFlight < least.inFlight) least = replica;
      }
      if (least === undefined) return undefined;
      least.inFlight += 1;
      least.idleSince = undefined;
      return least;
    },

    give(replica, failure) {
      const one = replica as Known;
      one.inFlight -= 1;
      if (failure === undefined) one.failures = 0;
      else suspend(one, failure);
      if (one.inFlight > 0) return;
      one.idleSince = performance.now();
      if (!one.isDropped) return;
      letGo(one);
      onChange(true);
    },

    holds() {
      const now = performance.now();
      return [...known.values()].map(({ id, inFlight, idleSince }) => ({
        replica_id: id,
        in_flight: inFlight,
        idle_s: idleSince === undefined ? null : (now - idleSince) / 1000,
      }));
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
