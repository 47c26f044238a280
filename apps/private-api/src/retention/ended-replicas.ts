import type { Database } from '../database/database.js';
import { failuresCountS, tells } from '../modules/replicas/ends.js';
import { endedKept } from '../modules/replicas/repository.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** The logs of replicas that ended as long ago as the server says, or less, as the model says. */
export function sweepReplicaLogs(
  database: Database,
  { everyMs, logRetentionS }: { everyMs: number; logRetentionS: number },
): Sweep {
  const due = `
    SELECT r.id, octet_length(r.log) AS bytes
      FROM replicas r JOIN model_versions v ON v.id = r.model_version_id
     WHERE r.log <> ''
       AND r.ended_at <= now() - least($1, coalesce(v.log_retention_s, $1)) * interval '1 second'`;
  return createRowSweep(database, {
    name: 'replica-logs',
    what: 'logs of replicas',
    everyMs,
    due,
    take: `
      due AS MATERIALIZED (${due} LIMIT ${batchSize}),
      taken AS (
        UPDATE replicas r SET log = NULL FROM due
         WHERE r.id = ANY(ARRAY(SELECT id FROM due)) AND r.id = due.id AND r.log IS NOT NULL
        RETURNING due.bytes)`,
    values: [logRetentionS],
  });
}

/**
 * Replicas that have ended, with their logs: all but the last of each version, and those whose time is over.
 * Failures are kept for as long as they count: those of one version take no place of another's. Of a version
 * that is to be hosted the last one stays that tells whether it serves: none that serves goes for one that failed.
 */
export function sweepEndedReplicas(
  database: Database,
  { everyMs, logRetentionS }: { everyMs: number; logRetentionS: number },
): Sweep {
  const due = `
    SELECT id, 0 AS bytes FROM (
      SELECT r.id, r.ended_at,
             row_number() OVER (PARTITION BY r.model_version_id ORDER BY r.ended_at DESC) AS place,
             m.deleted_at IS NULL AND m.current_version = v.number AND ${tells('r')}
               AND row_number() OVER (PARTITION BY r.model_version_id, ${tells('r')}
                                      ORDER BY r.ended_at DESC, r.id) = 1 AS stays
        FROM replicas r
        JOIN model_versions v ON v.id = r.model_version_id
        JOIN models m USING (human_readable_id)
       WHERE r.ended_at IS NOT NULL) AS ended
     WHERE NOT stays AND (place > ${endedKept} OR ended_at <= now() - $1 * interval '1 second')`;
  return createRowSweep(database, {
    name: 'ended-replicas',
    what: 'replicas that have ended',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize}),
      taken AS (
        DELETE FROM replicas WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING 0 AS bytes)`,
    values: [Math.max(logRetentionS, failuresCountS)],
  });
}
