import type { Logger } from '@inference-server/service-kit';
import type { LeaderRow } from '../database/leader.js';
import type { ReadyConsumer } from './books.js';
import type { Assignment, BusyTask, WaitingTask } from './policy.js';
import type { HostedVersion } from './replica-demand.js';
import { evictable, makeRoomForTasks, planReplicas, type ReplicaDrain } from './replica-policy.js';
import type { ReplicaPlanRepository } from './replica-repository.js';
import { createReplicaRoom, type LivingReplica, type ReplicaRoom } from './replica-room.js';

/** Room that was made for tasks is theirs for so long: what they are given it for takes a while to go. */
const promisedForMs = 60_000;

/** Replicas, as a pass reads them. */
export interface ReplicaScene {
  versions: readonly HostedVersion[];
  replicas: readonly LivingReplica[];
}

export type ReplicaPlanner = ReturnType<typeof createReplicaPlanner>;

/**
 * The part of a dispatcher's pass that has replicas started and let go. It is one pass with the tickets, so
 * that both are entered in the same books: replicas first, since a call waits for seconds and a task for
 * hours; then the tickets; then the idle replicas go whose room the tasks need that have found none.
 */
export function createReplicaPlanner(deps: {
  rows: ReplicaPlanRepository;
  leader: LeaderRow;
  newId: () => string;
  logger: Logger;
}) {
  const { rows, leader, newId, logger } = deps;
  /** Consumers with room that was made for tasks, and until when it is theirs. */
  const promised = new Map<string, number>();

  const drain = async (drains: readonly ReplicaDrain[]): Promise<void> => {
    if (drains.length === 0) return;
    const gone = new Set((await rows.drain(leader, drains)).map(({ id }) => id));
    await rows.noteDrained();
    await rows.stopDrained();
    for (const { id, why } of drains) {
      if (gone.has(id)) logger.info({ replicaId: id, why }, 'a replica is let go');
    }
  };

  return {
    async read(): Promise<ReplicaScene> {
      const [versions, replicas] = await Promise.all([rows.versions(), rows.living()]);
      return { versions, replicas };
    },

    /** Starts and lets go what is to be; answers with the room that is left. */
    async plan(
      { versions, replicas }: ReplicaScene,
      consumers: readonly (ReadyConsumer & { hostsReplicas: boolean })[],
      busy: readonly BusyTask[],
    ): Promise<{ room: ReplicaRoom; keptFor: string[] }> {
      const room = createReplicaRoom({ consumers, busy, replicas });
      if (versions.length === 0) return { room, keptFor: [] };
      for (const [id, until] of promised) if (performance.now() > until) promised.delete(id);
      const silent = consumers.filter(({ hostsReplicas }) => !hostsReplicas);
      const { starts, drains, keptFor, starved } = planReplicas(versions, room, {
        ...(await rows.leaving()),
        closed: new Set([...promised.keys(), ...silent.map(({ id }) => id)]),
      });
      if (starts.length > 0) {
        const named = starts.map((start) => ({ ...start, id: newId() }));
        const started = new Set((await rows.start(leader, named)).map(({ id }) => id));
        for (const { id, versionId, consumerId } of named) {
          if (!started.has(id)) continue;
          logger.info({ replicaId: id, versionId, consumerId }, 'a replica is started');
        }
      }
      await drain(drains);
      const changed = versions.filter(({ id, hasNoRoom }) => hasNoRoom !== starved.includes(id));
      if (changed.length > 0) {
        const noted = changed.map(({ id, hasNoRoom }) => ({ id, hasNoRoom: !hasNoRoom }));
        await rows.noteRoom(leader, noted);
      }
      return { room, keptFor };
    },

    /** The books as they would be if every idle replica went. */
    booksWithoutIdle: (room: ReplicaRoom, { versions }: ReplicaScene) =>
      room.booksWithout(evictable(versions, room)),

    /** Has idle replicas go for the tasks that have found no room. */
    async makeRoom(
      room: ReplicaRoom,
      { versions, replicas }: ReplicaScene,
      waiting: readonly WaitingTask[],
      assigned: readonly Assignment[],
    ): Promise<void> {
      for (const { consumerId, lenders } of assigned) {
        for (const id of [consumerId, ...lenders]) promised.delete(id);
      }
      if (replicas.length === 0) return;
      const byUid = new Map(assigned.map((assignment) => [assignment.uid, assignment]));
      for (const { uid, seq, needs } of waiting) {
        const { consumerId, lenders } = byUid.get(uid) ?? {};
        if (consumerId !== undefined && lenders !== undefined) {
          room.run({ consumerId, lenders, seq, needs });
        }
      }
      const left = waiting.filter(({ uid }) => !byUid.has(uid));
      const made = makeRoomForTasks(left, versions, room);
      for (const id of made.promised) promised.set(id, performance.now() + promisedForMs);
      await drain(made.drains);
    },

    /** What becomes of replicas and gateways with time. */
    async tidy(graceMs: number): Promise<void> {
      const steady = { ...leader, forMs: graceMs };
      for (const { reason, ...lost } of await rows.endLapsed(steady)) {
        if (reason === 'lost') logger.warn(lost, 'a replica is lost with its consumer');
        else logger.info(lost, 'a replica that was not wanted is gone with its consumer');
      }
      const forgotten = await rows.forgetGateways(steady);
      if (forgotten > 0)
        logger.debug({ gateways: forgotten }, 'gateways are not heard of any more');
      await rows.noteDrained();
      await rows.stopDrained();
    },
  };
}
