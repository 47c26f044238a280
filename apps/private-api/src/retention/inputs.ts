import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * Inputs of tasks that ended so long ago as their model says, and no longer than the server keeps them:
 * the blob is marked for removal as the task lets go of it.
 */
export function sweepInputs(
  database: Database,
  { inputRetentionS, everyMs }: { inputRetentionS: number; everyMs: number },
): Sweep {
  // A model version at a time, as with outputs.
  const due = (limit: string) => `
    SELECT kept.uid, kept.input_blob_id AS blob_id, b.bytes
      FROM model_versions v
     CROSS JOIN LATERAL (
       SELECT uid, input_blob_id FROM tasks
        WHERE model_version_id = v.id AND input_blob_id IS NOT NULL AND ended_at IS NOT NULL
          AND ended_at <= now() - least(v.input_retention_s, $1::float8) * interval '1 second'
        ORDER BY ended_at ${limit}) AS kept
      JOIN blobs b ON b.id = kept.input_blob_id
     ${limit}`;
  return createRowSweep(database, {
    name: 'inputs',
    what: 'inputs of ended tasks',
    everyMs,
    due: due(''),
    take: `
      due AS MATERIALIZED (${due(`LIMIT ${batchSize}`)}),
      mine AS (
        SELECT uid FROM tasks
         WHERE uid = ANY(ARRAY(SELECT uid FROM due)) AND input_blob_id IS NOT NULL
           FOR UPDATE SKIP LOCKED),
      freed AS (
        UPDATE tasks SET input_blob_id = NULL
         WHERE uid = ANY(ARRAY(SELECT uid FROM mine)) AND input_blob_id IS NOT NULL
        RETURNING uid),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id = ANY(ARRAY(SELECT blob_id FROM due JOIN freed USING (uid))) AND state = 'stored'
        RETURNING bytes)`,
    values: [inputRetentionS],
  });
}
