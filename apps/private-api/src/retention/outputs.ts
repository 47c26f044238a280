import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * Outputs whose time is over: so long after the end of the task as its model says, and no longer than
 * the server keeps them; or so long after they were fetched. From then on the task answers 553.
 */
export function sweepOutputs(
  database: Database,
  given: { outputRetentionS: number; fetchedRetentionS: number; everyMs: number },
): Sweep {
  // A model version at a time: each has a time of its own, and the index begins with it.
  const due = (limit: string) => `
    SELECT d.uid, d.output_blob_id AS blob_id, b.bytes
      FROM (
        SELECT kept.uid, kept.output_blob_id
          FROM model_versions v
         CROSS JOIN LATERAL (
           SELECT uid, output_blob_id FROM tasks
            WHERE model_version_id = v.id AND output_blob_id IS NOT NULL
              AND ended_at <= now() - least(v.retention_s, $1::float8) * interval '1 second'
            ORDER BY ended_at ${limit}) AS kept
        UNION
        (SELECT uid, output_blob_id FROM tasks
          WHERE output_blob_id IS NOT NULL AND fetched_at IS NOT NULL
            AND fetched_at <= now() - $2 * interval '1 second'
          ORDER BY fetched_at ${limit})) AS d
      JOIN blobs b ON b.id = d.output_blob_id
     ${limit}`;
  return createRowSweep(database, {
    name: 'outputs',
    what: 'outputs whose time is over, or that were fetched',
    everyMs: given.everyMs,
    due: due(''),
    take: `
      due AS MATERIALIZED (${due(`LIMIT ${batchSize}`)}),
      mine AS (
        SELECT uid FROM tasks
         WHERE uid = ANY(ARRAY(SELECT uid FROM due)) AND output_blob_id IS NOT NULL
           FOR UPDATE SKIP LOCKED),
      freed AS (
        UPDATE tasks SET output_blob_id = NULL
         WHERE uid = ANY(ARRAY(SELECT uid FROM mine)) AND output_blob_id IS NOT NULL
        RETURNING uid),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id = ANY(ARRAY(SELECT blob_id FROM due JOIN freed USING (uid))) AND state = 'stored'
        RETURNING bytes)`,
    values: [given.outputRetentionS, given.fetchedRetentionS],
  });
}
