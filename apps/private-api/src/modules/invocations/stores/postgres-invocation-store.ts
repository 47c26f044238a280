import type { Database } from '../../../database/database.js';
import { bytesOfRecord, type InvocationStore, type OldInvocations } from '../invocation-store.js';

/** Rows beside the tasks: as durable as those, and seen by every private-api. */
export function createPostgresInvocationStore(database: Database): InvocationStore {
  return {
    async put({ owner, id }, record, { keepS } = {}) {
      const { head, content } = record;
      // The row itself tells what it had when it was changed, whoever else was at it meanwhile.
      const [row] = await database.query<{ replaced: string | null }>(
        `INSERT INTO invocations AS i (owner, id, head, content, blob_id, bytes, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, now() + $7::float8 * interval '1 second')
         ON CONFLICT (owner, id) DO UPDATE
           SET head = excluded.head, content = excluded.content, blob_id = excluded.blob_id,
               replaced_blob_id = i.blob_id, bytes = excluded.bytes, stored_at = now(),
               expires_at = excluded.expires_at
         RETURNING replaced_blob_id AS replaced`,
        [
          ...[owner, id, head],
          Buffer.isBuffer(content) ? content : null,
          Buffer.isBuffer(content) ? null : content.blobId,
          bytesOfRecord(record),
          keepS ?? null,
        ],
      );
      return row?.replaced ?? undefined;
    },

    async find({ owner, id }) {
      const [row] = await database.query<Row>(
        `SELECT head, content, blob_id AS "blobId" FROM invocations WHERE owner = $1 AND id = $2`,
        [owner, id],
      );
      if (row === undefined) return undefined;
      const { head, content, blobId } = row;
      return { head, content: blobId === null ? (content ?? Buffer.alloc(0)) : { blobId } };
    },

    async bytesOf(owner) {
      const [row] = await database.query<{ bytes: number }>(
        `SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM invocations WHERE owner = $1`,
        [owner],
      );
      return row?.bytes ?? 0;
    },

    async blobsOf(keys) {
      const rows = await database.query<{ blobId: string | null }>(
        `SELECT i.blob_id AS "blobId"
           FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS k (owner, id, place)
           LEFT JOIN invocations i USING (owner, id) ORDER BY k.place`,
        [keys.map(({ owner }) => owner), keys.map(({ id }) => id)],
      );
      return rows.map(({ blobId }) => blobId ?? undefined);
    },

    async countOld(ageS) {
      const [row] = await database.query<OldInvocations>(
        `SELECT ${amount} FROM invocations
          WHERE stored_at <= now() - $1 * interval '1 second' OR expires_at <= now()`,
        [ageS],
      );
      return row ?? { count: 0, bytes: 0 };
    },

    async removeOld(ageS, limit) {
      // Of each kind by its own index. What is being replaced is not old any more.
      const [row] = await database.query<OldInvocations & { blobIds: string[] }>(
        `WITH aged AS (
           SELECT ctid AS place FROM invocations
            WHERE stored_at <= now() - $1 * interval '1 second'
            ORDER BY stored_at LIMIT $2 FOR UPDATE SKIP LOCKED),
         expired AS (
           SELECT ctid AS place FROM invocations
            WHERE expires_at <= now() ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
         removed AS (
           DELETE FROM invocations
            WHERE ctid = ANY(ARRAY(
              SELECT place FROM aged UNION SELECT place FROM expired LIMIT $2))
            RETURNING bytes, blob_id)
         SELECT ${amount}, coalesce(array_agg(blob_id::text) FILTER (WHERE blob_id IS NOT NULL), '{}')
                AS "blobIds"
           FROM removed`,
        [ageS, limit],
      );
      return row ?? { count: 0, bytes: 0, blobIds: [] };
    },

    // The database is its opener's.
    close: () => undefined,
  };
}

interface Row {
  head: string;
  content: Buffer | null;
  blobId: string | null;
}

const amount = `count(*)::int AS count, coalesce(sum(bytes), 0)::float8 AS bytes`;
