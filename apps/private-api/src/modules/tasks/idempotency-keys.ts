import { idempotencyKeyKeptS } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Queryable } from '../../database/database.js';

/** The key of a post, among those of whoever it is. */
export interface PostKey {
  owner: string;
  key: string;
}

/** What a key stands for: the task that was made, and of what. */
export interface KeyedPost {
  uid: string;
  humanReadableId: string;
  sha256: string;
}

/** The post that this key stands for; undefined: none, or none any more. */
export async function keyedPost(
  on: Queryable,
  { owner, key }: PostKey,
): Promise<KeyedPost | undefined> {
  const [post] = await on.query<KeyedPost>(
    `SELECT task_uid AS uid, human_readable_id AS "humanReadableId", sha256
       FROM idempotency_keys
      WHERE owner = $1 AND key = $2 AND created_at > now() - $3 * interval '1 second'`,
    [owner, key, idempotencyKeyKeptS],
  );
  return post;
}

/**
 * Takes the key for a new task, in the transaction that makes it; of two at once the second waits
 * here for the first. Answers with the uid of the task that has the key already, if it was made by
 * the same post; undefined: the key is the new task's. Throws IDEMPOTENCY_KEY_REUSED.
 */
export async function takeKey(
  tx: Queryable,
  { uid, humanReadableId, sha256 }: KeyedPost,
  { owner, key }: PostKey,
): Promise<string | undefined> {
  const taken = await tx.query(
    `INSERT INTO idempotency_keys AS k (owner, key, task_uid, human_readable_id, sha256)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (owner, key) DO UPDATE
       SET task_uid = excluded.task_uid, human_readable_id = excluded.human_readable_id,
           sha256 = excluded.sha256, created_at = excluded.created_at
     WHERE k.created_at <= now() - $6 * interval '1 second'
     RETURNING key`,
    [owner, key, uid, humanReadableId, sha256, idempotencyKeyKeptS],
  );
  if (taken.length > 0) return undefined;
  const earlier = await keyedPost(tx, { owner, key });
  if (earlier === undefined) {
    // It stood for a post until this moment.
    throw new AppError('SERVICE_UNAVAILABLE', 'The Idempotency-Key has just run out; send again.');
  }
  requireSamePost(earlier, { humanReadableId, sha256 });
  return earlier.uid;
}

/**
 * Throws IDEMPOTENCY_KEY_REUSED when `post` is another than the one that the key stands for. Without
 * its digest it is one whose zip has not come yet.
 */
export function requireSamePost(
  earlier: KeyedPost,
  post: { humanReadableId: string; sha256?: string },
): void {
  const { humanReadableId, sha256 = earlier.sha256 } = post;
  if (earlier.humanReadableId === humanReadableId && earlier.sha256 === sha256) return;
  throw new AppError(
    'IDEMPOTENCY_KEY_REUSED',
    'This Idempotency-Key was used for another post within the last 24 hours.',
    { extensions: { parameter: 'idempotency-key' } },
  );
}
