import type { Queryable } from '../../database/database.js';
import { markDeleting } from '../blobs/repository.js';

/**
 * Parts a deleted task that has ended from its files and logs, and marks the blobs for removal; their
 * ids are returned. Nothing for a task that still runs (its end comes back to this) or was not deleted.
 */
export async function dropFilesOfDeleted(tx: Queryable, uid: string): Promise<string[]> {
  const [task] = await tx.query<{ inputId: string | null; outputId: string | null }>(
    `SELECT input_blob_id AS "inputId", output_blob_id AS "outputId" FROM tasks
      WHERE uid = $1 AND deleted_at IS NOT NULL AND ended_at IS NOT NULL`,
    [uid],
  );
  if (task === undefined) return [];
  const unsettled = await tx.query<{ id: string }>(
    `SELECT output_blob_id AS id FROM attempts
      WHERE task_uid = $1 AND output_blob_id IS NOT NULL`,
    [uid],
  );
  await tx.query(`UPDATE attempts SET output_blob_id = NULL, log = NULL WHERE task_uid = $1`, [
    uid,
  ]);
  await tx.query(`UPDATE tasks SET input_blob_id = NULL, output_blob_id = NULL WHERE uid = $1`, [
    uid,
  ]);
  const ids = [task.inputId, task.outputId, ...unsettled.map(({ id }) => id)];
  const blobs = [...new Set(ids.filter((id) => id !== null))];
  await markDeleting(tx, blobs);
  return blobs;
}
