import type { Database } from '../database/database.js';
import { isOfUse } from '../modules/models/repository.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * Files of model versions that are of no use any more: the model was deleted, or has a next version,
 * and the last of the tasks with this one has ended.
 */
export function sweepModelFiles(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT v.id, v.files_blob_id AS blob_id, b.bytes
      FROM model_versions v
      JOIN models m USING (human_readable_id)
      JOIN blobs b ON b.id = v.files_blob_id
     WHERE NOT ${isOfUse}`;
  return createRowSweep(database, {
    name: 'model-files',
    what: 'files of model versions of no use',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE OF v SKIP LOCKED),
      freed AS (
        UPDATE model_versions SET files_blob_id = NULL
         WHERE id = ANY(ARRAY(SELECT id FROM due)) AND files_blob_id IS NOT NULL
        RETURNING id),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id = ANY(ARRAY(SELECT blob_id FROM due JOIN freed USING (id))) AND state = 'stored'
        RETURNING bytes)`,
    values: [],
  });
}
