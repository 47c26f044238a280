import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import type { Sweep } from './sweep.js';

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
     ORDER BY t.ended_at LIMIT $2`;
  return createRowSweep(database, {
    name: 'inputs',
    what: 'inputs of ended tasks',
    everyMs,
    due,
    take: `
      due AS (${due} FOR UPDATE OF t SKIP LOCKED),
      freed AS (
        UPDATE tasks t SET input_blob_id = NULL FROM due
         WHERE t.uid = due.uid AND t.input_blob_id = due.blob_id
        RETURNING due.blob_id),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id IN (SELECT blob_id FROM freed) AND state = 'stored'
        RETURNING bytes)`,
    values: [inputRetentionS],
  });
}
