import type { Queryable } from '../../database/database.js';
import type { AttemptEnd } from '../attempts/end-attempt.js';
import type { HeldAttempt } from '../attempts/held-attempt.js';

/** A day that is over counts towards nothing: it is kept for a month to be looked at (s). */
export const gpuUseKeptS = 32 * 24 * 3600;

/** Today, by the database's clock. */
const today = `(now() AT TIME ZONE 'UTC')::date`;

/**
 * Adds what an attempt had of GPUs to the day of its owner, who does not pay for faults of ours. The last
 * statement of the transaction that ends it: the row is that of all the owner's attempts.
 */
export async function noteGpuUse(
  tx: Queryable,
  { taskUid }: Pick<HeldAttempt, 'taskUid'>,
  { outcome, usage }: Pick<AttemptEnd, 'outcome' | 'usage'>,
): Promise<void> {
  const gpuS = usage?.gpu_s ?? 0;
  if (gpuS === 0 || !['finished', 'failed', 'cancelled'].includes(outcome)) return;
  await tx.query(
    `INSERT INTO gpu_use AS u (owner, day, gpu_s)
     SELECT owner, ${today}, $2 FROM tasks WHERE uid = $1
     ON CONFLICT (owner, day) DO UPDATE SET gpu_s = u.gpu_s + excluded.gpu_s`,
    [taskUid, gpuS],
  );
}

/** What the owner's attempts that have ended today had of GPUs, and in how many seconds the day ends. */
export async function gpuUseToday(
  on: Queryable,
  owner: string,
): Promise<{ gpuS: number; endsInS: number }> {
  const [row] = await on.query<{ gpuS: number; endsInS: number }>(
    `SELECT coalesce((SELECT gpu_s FROM gpu_use WHERE owner = $1 AND day = ${today}), 0) AS "gpuS",
            ceil(extract(epoch FROM ${today} + 1 - now() AT TIME ZONE 'UTC'))::int AS "endsInS"`,
    [owner],
  );
  return row ?? { gpuS: 0, endsInS: 0 };
}
