import type { Database } from '../database/database.js';
import { takesTickets } from '../modules/consumers/repository.js';
import { asBeforeTicket, transition } from '../modules/tasks/transitions.js';
import { elsewhereForMs, type Assignment, type ReadyConsumer, type WaitingTask } from './policy.js';

export type DispatcherRepository = ReturnType<typeof createDispatcherRepository>;

const ticketSent = transition('ticket_sent');
const ticketReturned = transition('ticket_returned');

/**
 * Of a waiting task `t` whose last attempt met a fault less than $3 milliseconds ago, its pause not
 * counted. The attempt is looked up for no other row.
 */
const shunsLast = `coalesce(
  t.attempt > 1 AND t.not_before > now() - $3 * interval '1 millisecond'
    AND (SELECT a.outcome IN ('fault', 'lost') FROM attempts a
          WHERE a.task_uid = t.uid AND a.number = t.attempt - 1), false)`;

/** What the dispatcher reads and writes. Every write is conditional on what it was decided from. */
export function createDispatcherRepository(
  database: Database,
  timings: { heartbeatTimeoutMs: number; resendAfterMs: number; goneAfterMs: number },
) {
  return {
    /**
     * Consumers that take tickets, the full ones too: each at most as many as it has free slots and one
     * more, so that the next task is at hand when one ends.
     */
    async consumers(): Promise<ReadyConsumer[]> {
      return database.query<ReadyConsumer>(
        `SELECT c.id, c.gpu_uuid IS NOT NULL AS "hasGpu",
                greatest(greatest(c.slots - count(t.uid) FILTER (WHERE t.state = 'RUNNING'), 0) + 1
                  - count(t.uid) FILTER (WHERE t.state = 'QUEUED'), 0)::int AS room
           FROM consumers c
           LEFT JOIN tasks t ON t.consumer_id = c.id AND t.state IN ('QUEUED', 'RUNNING')
          WHERE ${takesTickets}
          GROUP BY c.id ORDER BY c.id`,
        [timings.heartbeatTimeoutMs],
      );
    },

    /**
     * The oldest waiting tasks of a kind, without those that pause after a fault, and without those
     * that shun the consumer `notShunning`. Reads no more rows than it answers with, and those that it
     * leaves out: what met a fault within the last minutes.
     */
    async backlog(
      useGpu: boolean,
      limit: number,
      notShunning: string | null,
    ): Promise<WaitingTask[]> {
      return database.query<WaitingTask>(
        `SELECT uid, attempt, use_gpu AS "useGpu", consumer_id AS "lastConsumerId",
                ${shunsLast} AS "shunsLast"
           FROM tasks t
          WHERE state IN ${ticketSent.from} AND use_gpu = $1
            AND (not_before IS NULL OR not_before <= now())
            AND (consumer_id IS DISTINCT FROM $4 OR NOT ${shunsLast})
          ORDER BY seq LIMIT $2`,
        [useGpu, limit, elsewhereForMs, notShunning],
      );
    },

    /** PENDING → QUEUED; returns the assignments that took. */
    async assign(assignments: readonly Assignment[]): Promise<Assignment[]> {
      return database.query<Assignment>(
        `UPDATE tasks t
            SET state = ${ticketSent.to}, consumer_id = a.consumer_id, ticket_sent_at = now()
           FROM unnest($1::text[], $2::int[], $3::text[]) AS a(uid, attempt, consumer_id)
          WHERE t.uid = a.uid AND t.attempt = a.attempt AND t.state IN ${ticketSent.from}
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
        `UPDATE tasks t SET ${asBeforeTicket}
           FROM consumers c
          WHERE t.state IN ${ticketReturned.from} AND c.id = t.consumer_id AND NOT ${takesTickets}
         RETURNING t.uid`,
        [timings.heartbeatTimeoutMs],
      );
      return returned.length;
    },

    /** Of whom nothing was heard for so long that their tickets are no use to anybody. */
    async goneConsumers(): Promise<string[]> {
      const rows = await database.query<{ id: string }>(
        `SELECT id FROM consumers WHERE heartbeat_at < now() - $1 * interval '1 millisecond'`,
        [Math.max(timings.goneAfterMs, timings.heartbeatTimeoutMs)],
      );
      return rows.map(({ id }) => id);
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
