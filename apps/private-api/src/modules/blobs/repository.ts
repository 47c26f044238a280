import { AppError } from '@inference-server/errors';
import type { Database, Queryable } from '../../database/database.js';

export type BlobRepository = ReturnType<typeof createBlobRepository>;

/** Rows of blobs. The row comes before the bytes and goes after them. */
export function createBlobRepository(database: Database) {
  return {
    async insertPending(id: string): Promise<void> {
      await database.query(`INSERT INTO blobs (id, state) VALUES ($1, 'pending')`, [id]);
    },

    /** Says of pending blobs that they are under way; answers which of them are pending still. */
    async touch(ids: readonly string[]): Promise<string[]> {
      const rows = await database.query<{ id: string }>(
        `UPDATE blobs SET touched_at = now()
          WHERE id = ANY($1::uuid[]) AND state = 'pending' RETURNING id`,
        [ids],
      );
      return rows.map(({ id }) => id);
    },

    /** Moves the row to `deleting` if nothing refers to it yet; false: it is somebody's now. */
    async abandon(id: string): Promise<boolean> {
      const { count } = await database.prismaCall((prisma) =>
        prisma.blob.updateMany({ where: { id, state: 'pending' }, data: { state: 'deleting' } }),
      );
      return count > 0;
    },

    /** Removes the row of a blob whose bytes are gone. */
    async removeDeleted(id: string): Promise<void> {
      await database.prismaCall((prisma) =>
        prisma.blob.deleteMany({ where: { id, state: 'deleting' } }),
      );
    },
  };
}

/**
 * Makes a pending blob a stored one, towards the quota of `owner`, inside the transaction that begins to
 * refer to it.
 */
export async function markStored(
  tx: Queryable,
  blob: { id: string; bytes: number; sha256: string },
  owner: string,
): Promise<boolean> {
  const rows = await tx.query(
    `UPDATE blobs SET state = 'stored', bytes = $2, sha256 = $3, owner = $4
      WHERE id = $1 AND state = 'pending' RETURNING id`,
    [blob.id, blob.bytes, blob.sha256, owner],
  );
  return rows.length > 0;
}

/**
 * The same for a blob that was just received. Throws SERVICE_UNAVAILABLE when it is not pending any
 * more (taken for abandoned): nothing may refer to bytes that are about to go.
 */
export async function requireStored(
  tx: Queryable,
  blob: { id: string; bytes: number; sha256: string },
  owner: string,
): Promise<void> {
  if (await markStored(tx, blob, owner)) return;
  throw new AppError('SERVICE_UNAVAILABLE', 'The upload is no longer there; send it again.');
}

/** Marks blobs for removal inside the transaction that stops referring to them. */
export async function markDeleting(tx: Queryable, ids: readonly string[]): Promise<void> {
  await tx.query(`UPDATE blobs SET state = 'deleting' WHERE id = ANY($1::uuid[])`, [ids]);
}
