import type { Needs } from '@inference-server/contracts';
import type { Database } from '../database/database.js';
import type { LeaderRow } from '../database/leader.js';
import { takesTickets } from '../modules/consumers/repository.js';
import { asBeforeTicket, transition } from '../modules/tasks/transitions.js';
import { needsOf } from '../modules/models/needs.js';
import { elsewhereForMs, type Assignment, type BusyTask, type WaitingTask } from './policy.js';

export type DispatcherRepository = ReturnType<typeof createDispatcherRepository>;

/** A model version of which a task waits. */
export interface WaitingVersion {
  id: string;
  humanReadableId: string;
  number: number;
  needs: Needs;
  /** As it is noted. */
  isUnservable: boolean;
}

/** How much is read of a model version. */
export interface AskedVersion {
  id: string;
  most: number;
  /** Consumers without which it cannot go anywhere now. */
  notShunning: string[];
}

const ticketSent = transition('ticket_sent');
const ticketReturned = transition('ticket_returned');

/**
 * Of a waiting task `t` whose last attempt met a fault less than $2 milliseconds ago, its pause not
 * counted. The attempt is looked up for no other row.
 */
const shunsLast = `coalesce(
  t.attempt > 1 AND t.not_before > now() - $2 * interval '1 millisecond'
    AND (SELECT a.outcome IN ('fault', 'lost') FROM attempts a
          WHERE a.task_uid = t.uid AND a.number = t.attempt - 1), false)`;

/** What the dispatcher reads and writes. Every write is conditional on what it was decided from. */
export function createDispatcherRepository(
  database: Database,
  timings: { heartbeatTimeoutMs: number; resendAfterMs: number; goneAfterMs: number },
) {
  return {
    /** What has a ticket or runs, wherever. */
    async busy(): Promise<BusyTask[]> {
      return database.query<BusyTask>(
        `SELECT t.consumer_id AS "consumerId", t.lenders, t.seq::float8 AS seq,
                ${needsOf('v')} AS needs
           FROM tasks t JOIN model_versions v ON v.id = t.model_version_id
          WHERE t.state IN ('QUEUED', 'RUNNING')`,
      );
    },

    /**
     * The model versions of which a task waits, be it that it pauses, and those that are noted as
     * unservable. Reads a row of the index for each.
     */
    async waitingVersions(): Promise<WaitingVersion[]> {
      return database.query<WaitingVersion>(
        `WITH RECURSIVE waiting AS (
           (SELECT model_version_id FROM tasks WHERE state = 'PENDING'
             ORDER BY model_version_id LIMIT 1)
           UNION ALL
           SELECT (SELECT t.model_version_id FROM tasks t
                    WHERE t.state = 'PENDING' AND t.model_version_id > w.model_version_id
                    ORDER BY t.model_version_id LIMIT 1)
             FROM waiting w WHERE w.model_version_id IS NOT NULL)
         SELECT v.id, v.human_readable_id AS "humanReadableId", v.number, ${needsOf('v')} AS needs,
                v.unservable_since IS NOT NULL AS "isUnservable"
           FROM model_versions v
          WHERE v.id IN (SELECT model_version_id FROM waiting) OR v.unservable_since IS NOT NULL`,
      );
    },

    /**
     * Of each of the model versions the oldest waiting tasks, at most so many, all by their age: without
     * those that pause after a fault, and without those that shun one of `notShunning`. Reads no more
     * rows than it answers with, and those that it leaves out: what met a fault within the last minutes.
     */
    async backlog(asked: readonly AskedVersion[]): Promise<Omit<WaitingTask, 'needs'>[]> {
      return database.query(
        `SELECT w.* FROM jsonb_to_recordset($1::jsonb) AS of(id uuid, most int, "notShunning" text[])
          CROSS JOIN LATERAL (
            SELECT t.uid, t.attempt, t.model_version_id AS "versionId", t.seq::float8 AS seq,
                   t.consumer_id AS "lastConsumerId", ${shunsLast} AS "shunsLast"
              FROM tasks t
             WHERE t.state IN ${ticketSent.from} AND t.model_version_id = of.id
               AND (t.not_before IS NULL OR t.not_before <= now())
               AND ((t.consumer_id = ANY (of."notShunning")) IS NOT TRUE OR NOT ${shunsLast})
             ORDER BY t.seq LIMIT of.most) AS w
          ORDER BY w.seq`,
        [JSON.stringify(asked), elsewhereForMs],
      );
    },

    /** PENDING → QUEUED, as long as `leader` leads; returns the assignments that took. */
    async assign(leader: LeaderRow, assignments: readonly Assignment[]): Promise<Assignment[]> {
      return database.query<Assignment>(
        `WITH lead AS (
           SELECT FROM leaders WHERE name = $1 AND holder = $2 AND leader_until > now() FOR SHARE)
         UPDATE tasks t
            SET state = ${ticketSent.to}, consumer_id = a."consumerId", lenders = a.lenders,
                ticket_sent_at = now()
           FROM jsonb_to_recordset($3::jsonb)
                  AS a(uid text, attempt int, "consumerId" text, lenders text[])
          WHERE EXISTS (SELECT FROM lead)
            AND t.uid = a.uid AND t.attempt = a.attempt AND t.state IN ${ticketSent.from}
         RETURNING t.uid, t.attempt, t.consumer_id AS "consumerId", t.lenders`,
        [leader.name, leader.holder, JSON.stringify(assignments)],
      );
    },

    /** Notes of model versions whether nobody who is there could run them. */
    async noteUnservable(
      versions: readonly { id: string; isUnservable: boolean }[],
    ): Promise<void> {
      await database.query(
        `UPDATE model_versions v SET unservable_since = CASE WHEN n."isUnservable" THEN now() END
           FROM jsonb_to_recordset($1::jsonb) AS n(id uuid, "isUnservable" boolean)
          WHERE v.id = n.id`,
        [JSON.stringify(versions)],
      );
    },

    /** QUEUED → PENDING where a consumer of it is gone, silent, drained or cannot start containers. */
    async returnTickets(): Promise<number> {
      const returned = await database.query(
        `UPDATE tasks t SET ${asBeforeTicket}
           FROM consumers c
          WHERE t.state IN ${ticketReturned.from} AND NOT ${takesTickets}
            AND (c.id = t.consumer_id OR c.id = ANY (t.lenders))
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
         RETURNING uid, attempt, consumer_id AS "consumerId", lenders`,
        [timings.resendAfterMs],
      );
    },
  };
}
