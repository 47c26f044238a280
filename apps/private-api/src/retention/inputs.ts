import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** Inputs of tasks that have ended: the blob is marked for removal as the task lets go of it. */
export function sweepInputs(
  database: Database,
  { inputRetentionS, everyMs }: { inputRetentionS: number; everyMs: number },
): Sweep {
  const due = `
    SELECT t.uid, t.input_blob_id AS blob_id, b.bytes
      FROM tasks t JOIN blobs b ON b.id = t.input_blob_id
     WHERE t.input_blob_id IS NOT NULL AND t.ended_at IS NOT NULL
       AND t.ended_at <= now() - $1 * interval '1 second'
     ORDER BY t.ended_at`;
  return createRowSweep(database, {
    name: 'inputs',
    what: 'inputs of ended tasks',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE OF t SKIP LOCKED),
      freed AS (
        UPDATE tasks SET input_blob_id = NULL
         WHERE uid = ANY(ARRAY(SELECT uid FROM due)) AND input_blob_id IS NOT NULL
        RETURNING uid),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id = ANY(ARRAY(SELECT blob_id FROM due JOIN freed USING (uid))) AND state = 'stored'
        RETURNING bytes)`,
    values: [inputRetentionS],
  });
}
