import type { BlobStore } from '@inference-server/blob-store';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Database } from '../database/database.js';
import { removedInARow, type Amount, type Sweep } from './sweep.js';

/** How many files are removed side by side: each waits for the disk. */
const atOnce = 8;
const atATime = atOnce * removedInARow;

/**
 * Blobs that are marked `deleting`, which is the promise to remove them: the file, also a half one in
 * the staging folder, then the row. What cannot be removed now is put last, so that it holds nothing up.
 */
export function sweepDeletedBlobs(
  database: Database,
  store: BlobStore,
  { everyMs, logger }: { everyMs: number; logger: Logger },
): Sweep {
  const removeFiles = async ({ id }: MarkedBlob, signal: AbortSignal): Promise<boolean> => {
    try {
      await store.removeStaged(`${id}.part`, signal);
      await store.remove(id, signal);
      return true;
    } catch (error) {
      if (!signal.aborted) {
        logger.warn({ blob: id, reason: messageOf(error) }, 'a blob could not be removed');
      }
      return false;
    }
  };

  /**
   * Attempts that ended may refer to an output still. Whoever deletes a task has them first and its
   * blobs then; here neither is waited for while the other is held. What is locked goes the next time.
   */
  const removeRows = async (ids: readonly string[]): Promise<Set<string>> => {
    await database.query(
      `UPDATE attempts SET output_blob_id = NULL
        WHERE ctid = ANY(ARRAY(
          SELECT ctid FROM attempts WHERE output_blob_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED))`,
      [ids],
    );
    const removed = await database.query<{ id: string }>(
      `DELETE FROM blobs b
        WHERE id = ANY($1::uuid[]) AND state = 'deleting'
          AND NOT EXISTS (SELECT FROM attempts WHERE output_blob_id = b.id)
       RETURNING id`,
      [ids],
    );
    return new Set(removed.map(({ id }) => id));
  };

  const putLast = async (ids: readonly string[]): Promise<void> => {
    await database.query(
      `UPDATE blobs SET touched_at = now()
        WHERE id = ANY(ARRAY(
          SELECT id FROM blobs WHERE id = ANY($1::uuid[]) AND state = 'deleting'
             FOR UPDATE SKIP LOCKED))`,
      [ids],
    );
  };

  return {
    name: 'deleted-blobs',
    what: 'blobs that are marked for removal',
    everyMs,
    waitsForDisk: true,
    async look() {
      const [row] = await database.query<Amount>(
        `SELECT count(*)::int AS count, coalesce(sum(bytes), 0)::float8 AS bytes
           FROM blobs WHERE state = 'deleting'`,
      );
      return row ?? { count: 0, bytes: 0 };
    },
    async take(signal) {
      const marked = await database.query<MarkedBlob>(
        `SELECT id, coalesce(bytes, 0)::float8 AS bytes FROM blobs
          WHERE state = 'deleting' ORDER BY touched_at LIMIT $1`,
        [atATime],
      );
      const without: string[] = [];
      const waiting = marked.values();
      const work = async () => {
        for (const blob of waiting) if (await removeFiles(blob, signal)) without.push(blob.id);
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      const gone = await removeRows(without);
      signal.throwIfAborted();
      const removed = marked.filter(({ id }) => gone.has(id));
      const left = marked.filter(({ id }) => !gone.has(id));
      if (left.length > 0) await putLast(left.map(({ id }) => id));
      return {
        count: removed.length,
        bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0),
        more: marked.length === atATime && left.length === 0,
      };
    },
  };
}

interface MarkedBlob {
  id: string;
  bytes: number;
}
