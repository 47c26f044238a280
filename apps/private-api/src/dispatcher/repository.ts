import type { Database } from '../database/database.js';
import { takesTickets } from '../modules/consumers/repository.js';
import type { Assignment, RoomyConsumer, WaitingTask } from './policy.js';

export type DispatcherRepository = ReturnType<typeof createDispatcherRepository>;

/** What the dispatcher reads and writes. Every write is conditional on what it was decided from. */
export function createDispatcherRepository(
  database: Database,
  timings: { heartbeatTimeoutMs: number; resendAfterMs: number },
) {
  return {
    /**
     * Consumers that may be sent tickets: at most their free slots and one more, so that the next
     * task is at hand when one ends.
     */
    async consumersWithRoom(): Promise<RoomyConsumer[]> {
      return database.query<RoomyConsumer>(
        `SELECT c.id, c.gpu_uuid IS NOT NULL AS "hasGpu",
                (greatest(c.slots - count(t.uid) FILTER (WHERE t.state = 'RUNNING'), 0) + 1
                  - count(t.uid) FILTER (WHERE t.state = 'QUEUED'))::int AS room
           FROM consumers c
           LEFT JOIN tasks t ON t.consumer_id = c.id AND t.state IN ('QUEUED', 'RUNNING')
          WHERE ${takesTickets}
          GROUP BY c.id
         HAVING greatest(c.slots - count(t.uid) FILTER (WHERE t.state = 'RUNNING'), 0) + 1
                > count(t.uid) FILTER (WHERE t.state = 'QUEUED')
          ORDER BY c.id`,
        [timings.heartbeatTimeoutMs],
      );
    },

    /** The oldest waiting tasks of a kind, without those that pause after a fault. */
    async backlog(useGpu: boolean, limit: number): Promise<WaitingTask[]> {
      return database.query<WaitingTask>(
        `SELECT uid, attempt, use_gpu AS "useGpu", consumer_id AS "lastConsumerId"
           FROM tasks
          WHERE state = 'PENDING' AND use_gpu = $1 AND (not_before IS NULL OR not_before <= now())
          ORDER BY seq LIMIT $2`,
        [useGpu, limit],
      );
    },

    /** PENDING → QUEUED; returns the assignments that took. */
    async assign(assignments: readonly Assignment[]): Promise<Assignment[]> {
      return database.query<Assignment>(
        `UPDATE tasks t
            SET state = 'QUEUED', consumer_id = a.consumer_id, ticket_sent_at = now()
           FROM unnest($1::text[], $2::int[], $3::text[]) AS a(uid, attempt, consumer_id)
          WHERE t.uid = a.uid AND t.attempt = a.attempt AND t.state = 'PENDING'
         RETURNING t.uid, t.attempt, t.consumer_id AS "consumerId"`,
        [
          assignments.map(({ uid }) => uid),
          assignments.map(({ attempt }) => attempt),
          assignments.map(({ consumerId }) => consumerId),
        ],
      );
    },

    /** QUEUED → PENDING where the consumer is gone, silent, drained or cannot start containers. */
    async returnTickets(): Promise<number> {
      const returned = await database.query(
        `UPDATE tasks t SET state = 'PENDING'
           FROM consumers c
          WHERE t.state = 'QUEUED' AND c.id = t.consumer_id AND NOT ${takesTickets}
         RETURNING t.uid`,
        [timings.heartbeatTimeoutMs],
      );
      return returned.length;
    },

    /** QUEUED tasks whose ticket may have been lost on the way; marked as sent again. */
    async overdueTickets(): Promise<Assignment[]> {
      return database.query<Assignment>(
        `UPDATE tasks SET ticket_sent_at = now()
          WHERE state = 'QUEUED' AND ticket_sent_at < now() - $1 * interval '1 millisecond'
         RETURNING uid, attempt, consumer_id AS "consumerId"`,
        [timings.resendAfterMs],
      );
    },
  };
}
