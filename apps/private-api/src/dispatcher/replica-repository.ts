import type { Database } from '../database/database.js';
import {
  leaderValues,
  leadsSteadily,
  type LeaderRow,
  type SteadyLeader,
} from '../database/leader.js';
import { needsOf } from '../modules/models/needs.js';
import {
  failed,
  failedOfItself,
  failuresCountS,
  noteDrained,
  stopDrained,
  tells,
} from '../modules/replicas/ends.js';
import type { HostedVersion } from './replica-demand.js';
import type { ReplicaDrain, ReplicaStart } from './replica-policy.js';
import type { LivingReplica } from './replica-room.js';

export type ReplicaPlanRepository = ReturnType<typeof createReplicaPlanRepository>;

/** What a gateway said longer ago of its calls does not count: it says it every few seconds. */
const demandCountsS = 15;

/** Of whom nothing was heard for so long it holds no replica any more. */
const gatewayGoneAfterS = 60;

/** That $1 and $2 lead, as a WITH query: its row is held until the statement has ended. */
const lead = `lead AS (
  SELECT FROM leaders WHERE name = $1 AND holder = $2 AND leader_until > now() FOR SHARE)`;

/** What the plan of replicas is made of, and its writes, each conditional on what it was decided from. */
export function createReplicaPlanRepository(
  database: Database,
  { leaseMs, maxCallS }: { leaseMs: number; maxCallS: number },
) {
  return {
    /** Versions of runtime models that are current, or have replicas. */
    async versions(): Promise<HostedVersion[]> {
      return database.query<HostedVersion>(
        `WITH demand AS (
           SELECT (d->>'model_version_id')::uuid AS id, sum((d->>'waiting')::int)::float8 AS waiting,
                  sum((d->>'in_flight')::int)::float8 AS in_flight
             FROM gateways g, jsonb_array_elements(g.demand) AS d
            WHERE g.reported_at > now() - interval '${demandCountsS} seconds' GROUP BY 1)
         SELECT v.id, v.human_readable_id AS model, v.number, ${needsOf('v')} AS needs,
                m.deleted_at IS NULL AND m.current_version = v.number AS "isCurrent",
                v.min_replicas AS "minReplicas", v.max_replicas AS "maxReplicas",
                v.idle_timeout_s * 1000::float8 AS "idleTimeoutMs",
                v.target_in_flight AS "targetInFlight",
                coalesce(d.waiting, 0) AS waiting, coalesce(d.in_flight, 0) AS "inFlight",
                f.failures, f.losses, f.ms AS "failedMsAgo", f.consumer_id AS "failedOn",
                coalesce((SELECT ${failedOfItself('r')} FROM replicas r
                           WHERE r.model_version_id = v.id AND ${tells('r')}
                           ORDER BY r.ended_at DESC, r.id LIMIT 1), false)
                  AND NOT EXISTS (SELECT FROM replicas r
                                   WHERE r.model_version_id = v.id AND r.state < 'ENDED'
                                     AND r.ready_at IS NOT NULL) AS "hasOnlyFailed",
                v.no_room_since IS NOT NULL AS "hasNoRoom"
           FROM model_versions v
           JOIN models m USING (human_readable_id)
           LEFT JOIN demand d ON d.id = v.id
           CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE end_reason <> 'lost')::int AS failures,
                    -- A consumer that is lost with several is lost once.
                    count(DISTINCT (consumer_id, ended_at)) FILTER (WHERE end_reason = 'lost')::int AS losses,
                    (extract(epoch FROM now() - max(ended_at)) * 1000)::float8 AS ms,
                    (array_agg(consumer_id ORDER BY ended_at DESC))[1] AS consumer_id
               FROM replicas r
              WHERE r.model_version_id = v.id AND ${failed('r')}
                AND r.ended_at > now() - interval '${failuresCountS} seconds'
                AND r.ended_at > coalesce(
                      (SELECT max(s.ended_at) FROM replicas s
                        WHERE s.model_version_id = v.id AND s.state = 'ENDED'
                          AND s.end_reason = 'stopped' AND s.ready_at IS NOT NULL), '-infinity')
           ) AS f
          WHERE v.kind = 'runtime'
            AND (m.deleted_at IS NULL AND m.current_version = v.number
                 OR EXISTS (SELECT FROM replicas r
                             WHERE r.model_version_id = v.id AND r.state < 'ENDED'))
          ORDER BY v.human_readable_id, v.number`,
      );
    },

    /** All that have not ended. */
    async living(): Promise<LivingReplica[]> {
      return database.query<LivingReplica>(
        `WITH held AS (
           SELECT (h->>'replica_id')::uuid AS id, sum((h->>'in_flight')::int)::float8 AS in_flight
             FROM gateways g, jsonb_array_elements(g.holds) AS h GROUP BY 1)
         SELECT r.id, r.model_version_id AS "versionId", r.consumer_id AS "consumerId", r.lenders,
                r.state::text AS state, ${needsOf('v')} AS needs,
                coalesce(h.in_flight, 0) AS "inFlight",
                (extract(epoch FROM now() - greatest(r.used_at, r.ready_at, r.created_at)) * 1000)::float8
                  AS "idleMs"
           FROM replicas r
           JOIN model_versions v ON v.id = r.model_version_id
           LEFT JOIN held h ON h.id = r.id
          WHERE r.state < 'ENDED' ORDER BY r.created_at, r.id`,
      );
    },

    /** Consumers that an operator drains, and others that signed off and have not come back for a lease. */
    async leaving(): Promise<{ draining: Set<string>; left: Set<string> }> {
      const rows = await database.query<{ id: string; draining: boolean }>(
        `SELECT id, draining FROM consumers
          WHERE draining OR (state = 'gone' AND heartbeat_at < now() - $1 * interval '1 millisecond')`,
        [leaseMs],
      );
      const idsOf = (those: boolean) =>
        rows.filter(({ draining }) => draining === those).map(({ id }) => id);
      return { draining: new Set(idsOf(true)), left: new Set(idsOf(false)) };
    },

    /** As long as `leader` leads. Answers those that are. */
    async start(
      leader: LeaderRow,
      starts: readonly (ReplicaStart & { id: string })[],
    ): Promise<{ id: string }[]> {
      return database.query(
        `WITH ${lead}
         INSERT INTO replicas (id, model_version_id, consumer_id, lenders, lease_until)
         SELECT s.id, s."versionId", s."consumerId", s.lenders, now() + $4 * interval '1 millisecond'
           FROM jsonb_to_recordset($3::jsonb)
                  AS s(id uuid, "versionId" uuid, "consumerId" text, lenders text[])
          WHERE EXISTS (SELECT FROM lead)
         RETURNING id`,
        [leader.name, leader.holder, JSON.stringify(starts), leaseMs],
      );
    },

    /**
     * Lets those go that are still as they were when it was decided, as long as `leader` leads. One that never
     * served is known to no gateway. Answers those that go.
     */
    async drain(leader: LeaderRow, drains: readonly ReplicaDrain[]): Promise<{ id: string }[]> {
      return database.query(
        `WITH ${lead},
         due AS (
           SELECT r.id FROM replicas r
             JOIN jsonb_to_recordset($3::jsonb) AS d(id uuid, state replica_state)
               ON d.id = r.id AND d.state = r.state
            WHERE r.state IN ('STARTING', 'READY') AND EXISTS (SELECT FROM lead)
            ORDER BY r.id FOR UPDATE OF r SKIP LOCKED)
         UPDATE replicas r
            SET state = CASE WHEN r.state = 'STARTING' AND r.ready_at IS NULL
                             THEN 'STOPPING'::replica_state ELSE 'DRAINING'::replica_state END
           FROM due WHERE r.id = due.id
         RETURNING r.id`,
        [leader.name, leader.holder, JSON.stringify(drains)],
      );
    },

    /** See the function. */
    noteDrained: () => noteDrained(database),

    /** For whoever waits for a model, as long as `leader` leads. */
    async noteRoom(
      leader: LeaderRow,
      versions: readonly { id: string; hasNoRoom: boolean }[],
    ): Promise<void> {
      await database.query(
        `WITH ${lead},
         noted AS (
           UPDATE model_versions v SET no_room_since = CASE WHEN n."hasNoRoom" THEN now() END
             FROM jsonb_to_recordset($3::jsonb) AS n(id uuid, "hasNoRoom" boolean)
            WHERE v.id = n.id AND EXISTS (SELECT FROM lead))
         SELECT pg_notify('replicas_changed', '')`,
        [leader.name, leader.holder, JSON.stringify(versions)],
      );
    },

    /** See the function. */
    stopDrained: () => stopDrained(database, maxCallS),

    /**
     * Those whose consumer let their leases lapse, as long as `leader` leads steadily. One that was not wanted any
     * more is no loss.
     */
    async endLapsed(
      leader: SteadyLeader,
    ): Promise<{ replicaId: string; consumerId: string; reason: 'lost' | 'stopped' }[]> {
      return database.query(
        `UPDATE replicas SET state = 'ENDED', ended_at = now(),
                end_reason = CASE WHEN state = 'STOPPING' THEN 'stopped' ELSE 'lost' END,
                detail = 'Nothing was heard of its consumer for too long.'
          WHERE id IN (SELECT id FROM replicas
                        WHERE state < 'ENDED' AND lease_until < now() AND ${leadsSteadily}
                        ORDER BY id FOR UPDATE SKIP LOCKED)
         RETURNING id AS "replicaId", consumer_id AS "consumerId", end_reason AS reason`,
        leaderValues(leader),
      );
    },

    /** What a gateway holds that is not heard of keeps no replica, as long as `leader` leads steadily. */
    async forgetGateways(leader: SteadyLeader): Promise<number> {
      const forgotten = await database.query(
        `DELETE FROM gateways
          WHERE reported_at < now() - interval '${gatewayGoneAfterS} seconds' AND ${leadsSteadily}
         RETURNING id`,
        leaderValues(leader),
      );
      return forgotten.length;
    },
  };
}
