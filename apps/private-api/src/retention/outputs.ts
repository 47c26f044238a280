import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import type { Sweep } from './sweep.js';

/**
 * Outputs whose time is over: so long after the end of the task as its model says, and no longer than
 * the server keeps them; or so long after they were fetched. From then on the task answers 553.
 */
export function sweepOutputs(
  database: Database,
  given: { outputRetentionS: number; fetchedRetentionS: number; everyMs: number },
): Sweep {
  // A model version at a time: each has a time of its own, and the index begins with it.
  const due = `
    SELECT d.uid, d.output_blob_id AS blob_id, b.bytes
      FROM (
        SELECT kept.uid, kept.output_blob_id
          FROM model_versions v
         CROSS JOIN LATERAL (
           SELECT uid, output_blob_id FROM tasks
            WHERE model_version_id = v.id AND output_blob_id IS NOT NULL
              AND ended_at <= now() - least(v.retention_s, $1::float8) * interval '1 second'
            ORDER BY ended_at LIMIT $3) AS kept
        UNION
        (SELECT uid, output_blob_id FROM tasks
          WHERE output_blob_id IS NOT NULL AND fetched_at IS NOT NULL
            AND fetched_at <= now() - $2 * interval '1 second'
          ORDER BY fetched_at LIMIT $3)) AS d
      JOIN blobs b ON b.id = d.output_blob_id
     LIMIT $3`;
  return createRowSweep(database, {
    name: 'outputs',
    what: 'outputs whose time is over, or that were fetched',
    everyMs: given.everyMs,
    due,
    take: `
      due AS MATERIALIZED (${due}),
      mine AS (
        SELECT uid FROM tasks
         WHERE uid IN (SELECT uid FROM due) AND output_blob_id IS NOT NULL
           FOR UPDATE SKIP LOCKED),
      freed AS (
        UPDATE tasks t SET output_blob_id = NULL FROM due
         WHERE t.uid = due.uid AND t.uid IN (SELECT uid FROM mine)
           AND t.output_blob_id = due.blob_id
        RETURNING due.blob_id),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id IN (SELECT blob_id FROM freed) AND state = 'stored'
        RETURNING bytes)`,
    values: [given.outputRetentionS, given.fetchedRetentionS],
  });
}
