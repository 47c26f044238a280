import { needs } from '@inference-server/testing';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import type { BusyTask } from '../src/dispatcher/policy.js';
import type { HostedVersion } from '../src/dispatcher/replica-demand.js';
import { planReplicas, type ReplicaPlan } from '../src/dispatcher/replica-policy.js';
import { createReplicaRoom, type LivingReplica } from '../src/dispatcher/replica-room.js';

/** A current version of a model of its own, for which nobody calls. */
export function version(id: string, more: Partial<HostedVersion> = {}): HostedVersion {
  return {
    id,
    model: id,
    number: 1,
    needs: needs(),
    isCurrent: true,
    minReplicas: 0,
    maxReplicas: 1,
    idleTimeoutMs: 300_000,
    targetInFlight: 1,
    waiting: 0,
    inFlight: 0,
    failures: 0,
    losses: 0,
    failedMsAgo: null,
    failedOn: null,
    hasOnlyFailed: false,
    hasNoRoom: false,
    ...more,
  };
}

/** That is ready, and has just been called, unless it says otherwise. */
export function replica(
  id: string,
  of: HostedVersion,
  consumerId: string,
  more: Partial<LivingReplica> = {},
): LivingReplica {
  return {
    id,
    versionId: of.id,
    consumerId,
    lenders: [],
    needs: of.needs,
    state: 'READY',
    inFlight: 0,
    idleMs: 0,
    ...more,
  };
}

export interface Scene {
  versions: readonly HostedVersion[];
  replicas?: readonly LivingReplica[];
  consumers: readonly ReadyConsumer[];
  busy?: readonly BusyTask[];
  draining?: readonly string[];
  left?: readonly string[];
  closed?: readonly string[];
}

export function planOf(scene: Scene): ReplicaPlan {
  const { versions, replicas = [], consumers, busy = [] } = scene;
  const { draining = [], left = [], closed = [] } = scene;
  const room = createReplicaRoom({ consumers, busy, replicas });
  return planReplicas(versions, room, {
    draining: new Set(draining),
    left: new Set(left),
    closed: new Set(closed),
  });
}
