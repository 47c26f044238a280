import type {
  BatchModel,
  GatewayReport,
  ModelContract,
  Needs,
  PullPolicy,
  ReplicaDetails,
  ReplicaReport,
  ReplicaState,
  Rights,
} from '@inference-server/contracts';
import type { Database } from '../../database/database.js';
import { deviceIsTaken } from '../attempts/held-attempt.js';
import type { StoredBlob } from '../blobs/service.js';
import { needsOf } from '../models/needs.js';
import { failed, failuresCountS, noteDrained, stopDrained, tells } from './ends.js';

export type ReplicaRepository = ReturnType<typeof createReplicaRepository>;

/** A replica that has not ended, with all that its consumer needs for it. */
export interface ReplicaRow {
  id: string;
  model_version_id: string;
  consumer_id: string;
  lenders: string[];
  state: Exclude<ReplicaState, 'ENDED'>;
  address: string | null;
  human_readable_id: string;
  version: number;
  container_tag: string;
  pull_policy: PullPolicy;
  needs: Needs;
  rights: Partial<Rights>;
  has_contract_file: boolean;
  has_served: boolean;
  files_sha256: string | null;
  files_bytes: string | null;
}

/** A version that calls may name: a current one, or one whose replicas still answer. */
export interface HostedRow {
  model_version_id: string;
  human_readable_id: string;
  version: number;
  description: string;
  is_current: boolean;
  needs: Needs;
  target_in_flight: number;
  max_batch_size: number;
  max_delay_ms: number;
  /** A replica that it is to have finds none. */
  has_no_room: boolean;
  /** Of its last replica: lately, or, as long as there is no room for another one, of the last that tells. */
  last_failure: {
    end_reason: string;
    detail: string | null;
    exit_code: number | null;
    out_of_memory: boolean;
  } | null;
}

/** A replica that a report has ended. */
export interface EndedReplica {
  replicaId: string;
  model: string;
  reason: string;
  detail: string | null;
}

/** Why what a consumer says is not heard: the code that it is answered with. */
export type Refusal = 'CONSUMER_EXISTS' | 'DEVICE_TAKEN';

/** So many that have ended are kept, and told of. */
export const endedKept = 20;

export function createReplicaRepository(
  database: Database,
  { leaseMs, maxCallS }: { leaseMs: number; maxCallS: number },
) {
  /** Of a report that has changed nothing: none where it is an earlier one of who speaks for the consumer. */
  async function refusalOf(consumerId: string, holder: string): Promise<never[] | Refusal> {
    const [row] = await database.query<{ isGone: boolean; isTaken: boolean }>(
      `SELECT state = 'gone' AS "isGone", reason IS NOT DISTINCT FROM $3 AS "isTaken"
         FROM consumers WHERE id = $1 AND holder = $2`,
      [consumerId, holder, deviceIsTaken],
    );
    if (row?.isGone === false) return [];
    return row?.isTaken === true ? 'DEVICE_TAKEN' : 'CONSUMER_EXISTS';
  }

  /** Nobody waits for a gateway that holds nothing and is heard of no more. */
  async function forgetGateway(id: string, number: number): Promise<void> {
    await database.query(
      `WITH gone AS (DELETE FROM gateways WHERE id = $1 AND report < $2 RETURNING id)
       SELECT pg_notify('gateways_changed', '') FROM gone`,
      [id, number],
    );
  }

  async function keepGateway(
    id: string,
    { number, holds, demand }: Pick<GatewayReport, 'number' | 'holds' | 'demand'>,
  ): Promise<void> {
    await database.query(
      `WITH before AS (SELECT holds, demand FROM gateways WHERE id = $1),
       told AS (
         INSERT INTO gateways (id, reported_at, report, holds, demand)
         VALUES ($1, now(), $4, $2::jsonb, $3::jsonb)
         ON CONFLICT (id) DO UPDATE
           SET reported_at = now(), report = excluded.report, holds = excluded.holds,
               demand = excluded.demand
         WHERE gateways.report < excluded.report
         RETURNING id),
       held AS (
         SELECT r.id, now() - coalesce(h.idle_s, 0) * interval '1 second' AS used_at
           FROM replicas r
           JOIN jsonb_to_recordset($2::jsonb) AS h(replica_id uuid, in_flight int, idle_s float8)
             ON h.replica_id = r.id
          WHERE r.state < 'ENDED' AND (h.in_flight > 0 OR h.idle_s IS NOT NULL)
            AND EXISTS (SELECT FROM told)
          ORDER BY r.id FOR UPDATE OF r SKIP LOCKED),
       used AS (
         UPDATE replicas r SET used_at = held.used_at
           FROM held WHERE r.id = held.id AND r.used_at < held.used_at - interval '0.5 seconds')
       SELECT pg_notify('gateways_changed', '') FROM told
        WHERE NOT EXISTS (
          SELECT FROM before WHERE before.demand = $3::jsonb AND before.holds = $2::jsonb)`,
      [id, JSON.stringify(holds), JSON.stringify(demand), number],
    );
  }

  return {
    /**
     * What a consumer says of its replicas; their leases are renewed. One that was ready and is started anew, by
     * a process that has not found its container, is no longer ready; one whose consumer stops drains. Answers
     * those that have ended. Nothing is changed by what was said before what is known already, nor by who does
     * not speak for the consumer.
     */
    async report(
      consumerId: string,
      { holder, number, replicas }: Omit<ReplicaReport, 'revision'>,
    ): Promise<EndedReplica[] | Refusal> {
      const [told] = await database.query<{ isNews: boolean; ended: EndedReplica[] }>(
        `WITH before AS (SELECT replica_holder AS holder FROM consumers WHERE id = $1),
         speaker AS (
           UPDATE consumers
              SET replica_holder = $2, replica_report = $5, replicas_reported_at = now()
            WHERE id = $1 AND holder = $2 AND state <> 'gone'
              AND (replica_holder IS DISTINCT FROM $2 OR replica_report < $5)
           RETURNING id),
         said AS (
           SELECT r.id, s.state, s.address, s."end", r.state AS before
             FROM replicas r
             JOIN jsonb_to_recordset($3::jsonb) AS s(id uuid, state text, address text, "end" jsonb)
               ON s.id = r.id
            WHERE r.consumer_id = $1 AND r.state < 'ENDED' AND EXISTS (SELECT FROM speaker)
            ORDER BY r.id FOR UPDATE OF r),
         told AS (
           UPDATE replicas r
              SET lease_until = now() + $4 * interval '1 millisecond',
                  state = CASE
                    WHEN said.state = 'ended' THEN 'ENDED'::replica_state
                    WHEN said.state = 'ready' AND said.address IS NOT NULL AND r.state = 'STARTING'
                    THEN 'READY'::replica_state
                    WHEN said.state = 'starting' AND r.state = 'READY' THEN 'STARTING'::replica_state
                    WHEN said.state = 'draining' AND r.state IN ('STARTING', 'READY')
                    THEN 'DRAINING'::replica_state
                    ELSE r.state END,
                  address = CASE WHEN said.state = 'ready' THEN coalesce(said.address, r.address)
                                 WHEN said.state = 'starting' THEN NULL ELSE r.address END,
                  ready_at = CASE
                    WHEN said.state = 'ready' AND said.address IS NOT NULL AND r.state = 'STARTING'
                    THEN now() ELSE r.ready_at END,
                  ended_at = CASE WHEN said.state = 'ended' THEN now() END,
                  end_reason = CASE
                    WHEN said.state <> 'ended' THEN NULL
                    WHEN r.state = 'STOPPING' THEN 'stopped'
                    ELSE coalesce(said."end"->>'reason', 'exited') END,
                  detail = said."end"->>'detail',
                  exit_code = (said."end"->>'exit_code')::int,
                  out_of_memory = coalesce((said."end"->>'out_of_memory')::boolean, false),
                  log = said."end"->>'log'
             FROM said, model_versions v
            WHERE r.id = said.id AND v.id = r.model_version_id
           RETURNING r.id, v.human_readable_id, r.state, r.end_reason, r.detail)
         SELECT EXISTS (SELECT FROM speaker) AS "isNews",
                -- It can be given replicas from now on.
                (SELECT pg_notify('replicas_changed', '') FROM speaker, before
                  WHERE before.holder IS DISTINCT FROM $2),
                coalesce((SELECT jsonb_agg(jsonb_build_object(
                  'replicaId', id, 'model', human_readable_id, 'reason', end_reason, 'detail', detail))
                  FROM told WHERE state = 'ENDED'), '[]') AS ended`,
        [consumerId, holder, JSON.stringify(replicas), leaseMs, number],
      );
      if (told?.isNews !== true) return refusalOf(consumerId, holder);
      if (replicas.some(({ state }) => state === 'draining')) await noteDrained(database);
      return told.ended;
    },

    /**
     * What a gateway says of its calls, and since when its replicas are idle by it. What it does not hold any
     * more may be stopped by that. A report that comes after a later one, or again, changes nothing.
     */
    async noteGateway(id: string, told: GatewayReport): Promise<void> {
      if (told.leaves === true && told.holds.length === 0) await forgetGateway(id, told.number);
      else await keepGateway(id, told);
      await stopDrained(database, maxCallS);
    },

    /** All that have not ended. */
    async living(): Promise<ReplicaRow[]> {
      return database.query<ReplicaRow>(
        `SELECT r.id, r.model_version_id, r.consumer_id, r.lenders, r.state::text AS state, r.address,
                v.human_readable_id, v.number AS version, v.container_tag, v.pull_policy,
                ${needsOf('v')} AS needs, v.rights, v.has_contract_file,
                r.state <> 'STARTING' AND r.ready_at IS NOT NULL AS has_served,
                f.sha256 AS files_sha256, f.bytes AS files_bytes
           FROM replicas r
           JOIN model_versions v ON v.id = r.model_version_id
           LEFT JOIN blobs f ON f.id = v.files_blob_id
          WHERE r.state < 'ENDED' ORDER BY r.created_at, r.id`,
      );
    },

    /** The versions of runtime models that are current, and those whose replicas still answer. */
    async hosted(): Promise<HostedRow[]> {
      return database.query<HostedRow>(
        `SELECT v.id AS model_version_id, v.human_readable_id, v.number AS version, m.description,
                m.current_version = v.number AS is_current, ${needsOf('v')} AS needs,
                v.target_in_flight, v.max_batch_size, v.max_delay_ms,
                v.no_room_since IS NOT NULL AS has_no_room,
                (SELECT to_jsonb(e) FROM (
                   SELECT r.state, r.end_reason, r.detail, r.exit_code, r.out_of_memory FROM replicas r
                    WHERE r.model_version_id = v.id AND r.state = 'ENDED'
                      AND CASE WHEN v.no_room_since IS NULL
                               THEN r.ended_at > now() - interval '${failuresCountS} seconds'
                               ELSE ${tells('r')} END
                    ORDER BY r.ended_at DESC LIMIT 1) AS e
                  WHERE ${failed('e')}) AS last_failure
           FROM model_versions v JOIN models m USING (human_readable_id)
          WHERE v.kind = 'runtime' AND m.deleted_at IS NULL
            AND (m.current_version = v.number
                 OR EXISTS (SELECT FROM replicas r
                             WHERE r.model_version_id = v.id AND r.state = 'READY'))
          ORDER BY v.human_readable_id, v.number`,
      );
    },

    /** The current versions of batch models, which gateways have asked by tasks. */
    async batchModels(): Promise<BatchModel[]> {
      return database.query<BatchModel>(
        `SELECT v.id AS model_version_id, v.human_readable_id, v.number AS version, m.description
           FROM model_versions v
           JOIN models m ON m.human_readable_id = v.human_readable_id AND m.current_version = v.number
          WHERE v.kind = 'batch' AND m.deleted_at IS NULL
          ORDER BY v.human_readable_id`,
      );
    },

    /** Of versions of runtime models. */
    async contracts(
      versionIds: readonly string[],
    ): Promise<{ id: string; contract: ModelContract }[]> {
      return database.query(
        `SELECT id, contract FROM model_versions WHERE id = ANY ($1::uuid[]) AND contract IS NOT NULL`,
        [versionIds],
      );
    },

    /** Of a replica that is to run there, by the process that is the consumer. Null: its model has none. */
    async modelFiles(
      consumerId: string,
      { replicaId, holder }: { replicaId: string; holder: string },
    ): Promise<StoredBlob | null | undefined> {
      const [row] = await database.query<StoredBlob | { id: null }>(
        `SELECT f.id, f.bytes::float8 AS bytes, f.sha256, v.created_at AS "storedAt"
           FROM replicas r
           JOIN consumers c ON c.id = r.consumer_id
           JOIN model_versions v ON v.id = r.model_version_id
           LEFT JOIN blobs f ON f.id = v.files_blob_id
          WHERE r.id = $1 AND r.consumer_id = $2 AND c.holder = $3 AND r.state < 'ENDED'`,
        [replicaId, consumerId, holder],
      );
      if (row === undefined) return undefined;
      return row.id === null ? null : row;
    },

    /** Those of a model that are there, and the last ones that ended: the newest first. */
    async ofModel(humanReadableId: string): Promise<ReplicaDetails[]> {
      const rows = await database.query<DetailsRow>(
        `SELECT r.id, v.number AS version, r.consumer_id, r.state::text AS state,
                coalesce((SELECT sum((h->>'in_flight')::int) FROM gateways g, jsonb_array_elements(g.holds) AS h
                           WHERE r.state < 'ENDED' AND h->>'replica_id' = r.id::text), 0)::int AS in_flight,
                r.created_at, r.ready_at, r.ended_at, r.end_reason, r.detail, r.exit_code,
                r.out_of_memory, r.log
           FROM replicas r JOIN model_versions v ON v.id = r.model_version_id
          WHERE v.human_readable_id = $1
            AND (r.state < 'ENDED' OR r.id IN (
              SELECT e.id FROM replicas e JOIN model_versions ev ON ev.id = e.model_version_id
               WHERE ev.human_readable_id = $1 AND e.state = 'ENDED'
               ORDER BY e.ended_at DESC LIMIT ${endedKept}))
          ORDER BY r.created_at DESC, r.id`,
        [humanReadableId],
      );
      return rows.map(({ created_at, ready_at, ended_at, ...row }) => ({
        ...row,
        created_at: created_at.toISOString(),
        ready_at: ready_at && ready_at.toISOString(),
        ended_at: ended_at && ended_at.toISOString(),
      }));
    },
  };
}

type DetailsRow = Omit<ReplicaDetails, 'created_at' | 'ready_at' | 'ended_at'> & {
  created_at: Date;
  ready_at: Date | null;
  ended_at: Date | null;
};
