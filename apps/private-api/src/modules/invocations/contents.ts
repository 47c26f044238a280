import type { Database } from '../../database/database.js';
import { requireStored } from '../blobs/repository.js';
import type { PendingBlob } from '../blobs/service.js';
import type { InvocationKey } from './invocation-store.js';

export type InvocationContents = ReturnType<typeof createInvocationContents>;

export interface ContentRow extends InvocationKey {
  blobId: string;
  bytes: number;
}

/**
 * Rows of the blobs that hold contents of invocations, whichever store has the invocations: so that one
 * whose invocation was never put, or was put in another's place, is found and goes.
 */
export function createInvocationContents(database: Database) {
  return {
    /** Makes the received blob a stored one, towards the quota of its owner. */
    keep: (blob: PendingBlob, { owner, id }: InvocationKey): Promise<void> =>
      database.transaction(async (tx) => {
        await requireStored(tx, blob, owner);
        await tx.query(
          `INSERT INTO invocation_contents (blob_id, owner, invocation_id) VALUES ($1, $2, $3)`,
          [blob.id, owner, id],
        );
      }),

    /** Marks blobs of contents for removal; answers those that were not marked yet. */
    async drop(blobIds: readonly string[]): Promise<ContentRow[]> {
      if (blobIds.length === 0) return [];
      return database.query<ContentRow>(
        `UPDATE blobs b SET state = 'deleting', touched_at = now()
           FROM invocation_contents c
          WHERE b.id = ANY($1::uuid[]) AND b.state = 'stored' AND c.blob_id = b.id
          RETURNING b.id AS "blobId", b.bytes::float8 AS bytes, c.owner, c.invocation_id AS id`,
        [blobIds],
      );
    },

    /** Those that were stored at least so long ago, in the order of their ids, from `after` on. */
    list(after: string, ageS: number, limit: number): Promise<ContentRow[]> {
      return database.query<ContentRow>(
        `SELECT c.blob_id AS "blobId", b.bytes::float8 AS bytes, c.owner, c.invocation_id AS id
           FROM invocation_contents c JOIN blobs b ON b.id = c.blob_id
          WHERE c.blob_id > $1::uuid AND b.state = 'stored'
            AND c.stored_at <= now() - $2 * interval '1 second'
          ORDER BY c.blob_id LIMIT $3`,
        [after, ageS, limit],
      );
    },
  };
}
