import {
  replicaNewsHeldS,
  type Capacity,
  type ConsumerDetails,
  type ConsumerRegistration,
} from '@inference-server/contracts';
import type { Database, Queryable } from '../../database/database.js';
import { writeAudit, type Actor } from '../audit/repository.js';
import { deviceIsTaken, isResumable } from '../attempts/held-attempt.js';
import { asBeforeTicket, transition } from '../tasks/transitions.js';

export type ConsumerRepository = ReturnType<typeof createConsumerRepository>;

export interface ConsumerCapacity extends Capacity {
  id: string;
  takesTickets: boolean;
  /** Of one that takes tickets: whether it may be given replicas too. */
  hostsReplicas: boolean;
}

/**
 * Of a consumer `c` that may be sent tickets: it is heard of, with $1 the milliseconds after which it
 * no longer is, can start containers, and is not to be drained.
 */
export const takesTickets = `(c.state = 'ready' AND NOT c.draining
  AND c.heartbeat_at > now() - $1 * interval '1 millisecond')`;

/** Of a consumer `c` that starts what it is ordered: its process has said lately which replicas it has. */
const hostsReplicas = `coalesce(c.replica_holder = c.holder AND c.replicas_reported_at
  > now() - greatest($1, ${3_000 * replicaNewsHeldS}) * interval '1 millisecond', false)`;

const ticketReturned = transition('ticket_returned');

export function createConsumerRepository(
  database: Database,
  {
    heartbeatTimeoutMs,
    goneAfterMs,
    parkMs,
  }: { heartbeatTimeoutMs: number; goneAfterMs: number; parkMs: number },
) {
  /** Of those that meet a condition with values from $2 on. */
  async function details(condition: string, values: unknown[]): Promise<ConsumerDetails[]> {
    const rows = await database.query<DetailsRow>(
      `SELECT c.id, c.version, c.reason, c.draining, c.slots, c.device, c.host, c.share, c.process,
              c.labels, c.heartbeat_at,
              CASE WHEN c.state = 'gone' OR c.heartbeat_at > now() - $1 * interval '1 millisecond'
                   THEN c.state::text ELSE 'silent' END AS state,
              (SELECT count(*)::int FROM tasks t
                WHERE (t.consumer_id = c.id OR c.id = ANY (t.lenders)) AND t.state = 'RUNNING') AS running,
              (SELECT count(*)::int FROM tasks t
                WHERE (t.consumer_id = c.id OR c.id = ANY (t.lenders)) AND t.state = 'QUEUED') AS queued
         FROM consumers c WHERE ${condition} ORDER BY c.id`,
      [heartbeatTimeoutMs, ...values],
    );
    return rows.map((row) => ({ ...row, heartbeat_at: row.heartbeat_at.toISOString() }));
  }

  async function setDraining(id: string, draining: boolean, by: Actor): Promise<void> {
    const action = draining ? 'drain_consumer' : 'resume_consumer';
    await database.transaction(async (tx) => {
      const found = await tx.query(
        `UPDATE consumers SET draining = $2 WHERE id = $1 RETURNING id`,
        [id, draining],
      );
      if (found.length > 0) await writeAudit(tx, { by, action, object: { kind: 'consumer', id } });
    });
  }

  /**
   * The tickets of the process before it go back: they were for what that had. One that somebody else is at is
   * skipped, as in `signOff`. Undefined: another process is heard of under this id.
   */
  async function keep(
    on: Queryable,
    id: string,
    registration: ConsumerRegistration,
  ): Promise<{ isNews: boolean } | undefined> {
    const { holder, version, state, reason, ...having } = registration;
    const [row] = await on.query<{ isNews: boolean }>(
      `WITH before AS (SELECT state, holder, slots, device, host, share, process, labels FROM consumers WHERE id = $1),
         kept AS (
         INSERT INTO consumers (id, holder, version, state, reason, slots, device, host, share, process, labels, heartbeat_at)
         SELECT $1, $2, $3, $4::consumer_state, $5, slots, device, host, share, process, labels, now()
           FROM jsonb_to_record($6::jsonb) AS h(
             slots int, device jsonb, host jsonb, share jsonb, process text, labels jsonb)
         ON CONFLICT (id) DO UPDATE
           SET holder = excluded.holder, version = excluded.version, state = excluded.state,
               reason = excluded.reason, slots = excluded.slots, device = excluded.device,
               host = excluded.host, share = excluded.share, process = excluded.process,
               labels = excluded.labels, heartbeat_at = now()
         WHERE consumers.holder = excluded.holder OR consumers.state = 'gone'
            OR consumers.heartbeat_at < now() - $7 * interval '1 millisecond'
         RETURNING NOT EXISTS (
           SELECT 1 FROM before
            WHERE (before.state, before.holder, before.slots, before.share, before.process, before.labels)
                = (consumers.state, consumers.holder, consumers.slots, consumers.share,
                   consumers.process, consumers.labels)
              AND before.device IS NOT DISTINCT FROM consumers.device) AS "isNews"),
         returned AS (
         UPDATE tasks t SET ${asBeforeTicket}
          WHERE uid IN (
                  SELECT uid FROM tasks
                   WHERE state IN ${ticketReturned.from} AND (consumer_id = $1 OR $1 = ANY (lenders))
                     AND EXISTS (SELECT FROM kept) AND EXISTS (SELECT FROM before WHERE holder <> $2)
                     FOR UPDATE SKIP LOCKED))
         SELECT "isNews" FROM kept`,
      [id, holder, version, state, reason, JSON.stringify(having), heartbeatTimeoutMs],
    );
    return row;
  }

  /**
   * Of a consumer that is gone. A task that somebody else is at is left to the dispatcher, which finds its
   * consumer gone: to wait for it while others are held is how two of these, and the dispatcher, come to
   * wait for each other.
   */
  async function returnTickets(tx: Queryable, id: string): Promise<number> {
    const returned = await tx.query(
      `UPDATE tasks t SET ${asBeforeTicket}
        WHERE uid IN (
                SELECT uid FROM tasks
                 WHERE state IN ${ticketReturned.from} AND (consumer_id = $1 OR $1 = ANY (lenders))
                   FOR UPDATE SKIP LOCKED)
       RETURNING uid`,
      [id],
    );
    return returned.length;
  }

  return {
    /**
     * Registers, or keeps registered. Nothing is changed while another process is heard of under this id, since
     * two would run each other's tasks: undefined; nor while another consumer has the device, by whatever
     * name, or a part of it: one that is heard of, or has an attempt or a replica that is not over, `deviceOf`. Any other that had it
     * is gone from then on: it claims nothing any more, and takes no lapsed attempt up again.
     */
    async register(
      id: string,
      registration: ConsumerRegistration,
    ): Promise<{ isNews: boolean } | { deviceOf: string } | undefined> {
      const { device } = registration;
      const [uuid] = uuidInName.exec(device?.uuid ?? '') ?? [];
      // A number is another device on each host.
      if (uuid === undefined) return keep(database, id, registration);
      const gpu = device?.gpu_uuid ?? null;
      return database.transaction(async (tx) => {
        // Of two that register together one comes first, whatever name each has for the device.
        await tx.query(`SELECT pg_advisory_xact_lock(hashtext('devices'))`);
        // Before what they have is looked at: who is claiming for one of them right now holds it until it is to be seen.
        const rivals = await tx.query<{ id: string }>(
          `SELECT c.id FROM consumers c, substring(c.device->>'uuid' FROM '${uuidInName.source}') AS uuid
            WHERE c.id <> $1 AND (uuid IN ($2, $3) OR c.device->>'gpu_uuid' = $2)
            ORDER BY c.id FOR UPDATE OF c`,
          [id, uuid, gpu],
        );
        const rivalIds = rivals.map((rival) => rival.id);
        const [other] = await tx.query<{ id: string }>(
          `SELECT c.id FROM consumers c
            WHERE c.id = ANY ($1)
              AND (c.state <> 'gone' AND c.heartbeat_at > now() - $2 * interval '1 millisecond'
                   OR EXISTS (SELECT FROM tasks t WHERE t.state = 'RUNNING'
                                AND (t.consumer_id = c.id OR c.id = ANY (t.lenders)))
                   OR EXISTS (SELECT FROM replicas r WHERE r.state < 'ENDED'
                                AND (r.consumer_id = c.id OR c.id = ANY (r.lenders))))
            ORDER BY c.id LIMIT 1`,
          [rivalIds, heartbeatTimeoutMs],
        );
        if (other !== undefined) return { deviceOf: other.id };
        const silent = await tx.query<{ id: string }>(
          `UPDATE consumers SET state = 'gone', reason = $2
            WHERE id = ANY ($1) AND (state <> 'gone' OR reason IS DISTINCT FROM $2) RETURNING id`,
          [rivalIds, deviceIsTaken],
        );
        for (const rival of silent) await returnTickets(tx, rival.id);
        return keep(tx, id, registration);
      });
    },

    /**
     * What each consumer has that was heard of within `goneAfterMs`, by id: one that signed off may come
     * back. `withGone`: what each has that ever registered. The other two: it does now.
     */
    async capacities({ withGone = false } = {}): Promise<ConsumerCapacity[]> {
      return database.query<ConsumerCapacity>(
        `SELECT id, slots, device, share, labels, process, ${takesTickets} AS "takesTickets",
                ${hostsReplicas} AS "hostsReplicas"
           FROM consumers c
          WHERE $3 OR heartbeat_at > now() - $2 * interval '1 millisecond' ORDER BY id`,
        [heartbeatTimeoutMs, Math.max(goneAfterMs, heartbeatTimeoutMs), withGone],
      );
    },

    /** Every consumer that was ever registered, by id. */
    list: () => details('true', []),

    /**
     * Those of the consumers that signed off, or were not heard of for `goneAfterMs`, and have no
     * replica, and no attempt that is open, parked or not, or that they could resume: nothing that they
     * ever began goes on. After an outage of that length all are silent; then what they hold says it.
     */
    async findGone(ids: readonly string[]): Promise<{ gone: string[]; unknown: string[] }> {
      const rows = await database.query<{ id: string; isKnown: boolean }>(
        `SELECT asked.id, c.id IS NOT NULL AS "isKnown"
           FROM unnest($1::text[]) AS asked(id) LEFT JOIN consumers c USING (id)
          WHERE c.id IS NULL
             OR ((c.state = 'gone' OR c.heartbeat_at < now() - $2 * interval '1 millisecond')
                 AND NOT EXISTS (
                   SELECT FROM attempts a WHERE a.consumer_id = c.id AND a.ended_at IS NULL)
                 AND NOT EXISTS (
                   SELECT FROM replicas r WHERE r.consumer_id = c.id AND r.state < 'ENDED')
                 AND NOT EXISTS (
                   SELECT FROM attempts a, tasks t
                    WHERE a.consumer_id = c.id AND ${isResumable}))`,
        [ids, Math.max(goneAfterMs, heartbeatTimeoutMs)],
      );
      const those = (known: boolean) =>
        rows.filter(({ isKnown }) => isKnown === known).map(({ id }) => id);
      return { gone: those(true), unknown: those(false) };
    },

    /**
     * From when this answers on nothing is claimed: its tickets are in the backlog, and one that the
     * dispatcher was just sending is not claimed any more. Undefined when there is no such consumer.
     */
    async drain(id: string, by: Actor): Promise<ConsumerDetails | undefined> {
      await setDraining(id, true, by);
      const tickets = await database.query<{ uid: string }>(
        `SELECT uid FROM tasks
          WHERE (consumer_id = $1 OR $1 = ANY (lenders)) AND state IN ${ticketReturned.from}`,
        [id],
      );
      // Each alone, since each may have to wait for a claim: who holds nothing is waited for by nobody.
      for (const { uid } of tickets) {
        await database.query(
          `UPDATE tasks t SET ${asBeforeTicket}
            WHERE uid = $1 AND (consumer_id = $2 OR $2 = ANY (lenders))
              AND state IN ${ticketReturned.from}`,
          [uid, id],
        );
      }
      return (await details('c.id = $2', [id]))[0];
    },

    /** Undefined when there is none. */
    async resume(id: string, by: Actor): Promise<ConsumerDetails | undefined> {
      await setDraining(id, false, by);
      return (await details('c.id = $2', [id]))[0];
    },

    /**
     * Marks a consumer gone that stops by itself, and returns its tickets to the backlog. What serves there and
     * has not ended is left to the next process, and counted on until then, as parked attempts are.
     */
    async signOff(id: string, holder: string): Promise<number> {
      return database.transaction(async (tx) => {
        const gone = await tx.query(
          `UPDATE consumers SET state = 'gone', reason = CASE WHEN state = 'gone' THEN reason END
            WHERE id = $1 AND holder = $2 RETURNING id`,
          [id, holder],
        );
        if (gone.length === 0) return 0;
        await tx.query(
          `UPDATE replicas
              SET lease_until = greatest(lease_until, now() + $2 * interval '1 millisecond')
            WHERE id IN (SELECT id FROM replicas
                          WHERE consumer_id = $1 AND state IN ('READY', 'DRAINING')
                          ORDER BY id FOR UPDATE)`,
          [id, parkMs],
        );
        return returnTickets(tx, id);
      });
    },

    /** How many consumers could be sent tickets. */
    async countReady(): Promise<number> {
      const [row] = await database.query<{ count: string }>(
        `SELECT count(*) FROM consumers c WHERE ${takesTickets}`,
        [heartbeatTimeoutMs],
      );
      return Number(row?.count ?? 0);
    },
  };
}

/** A CDI name has it behind its kind. */
const uuidInName = /(?:GPU|MIG)-.*$/;

type DetailsRow = Omit<ConsumerDetails, 'heartbeat_at'> & { heartbeat_at: Date };
