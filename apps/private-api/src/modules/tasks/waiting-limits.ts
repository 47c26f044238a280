import { AppError } from '@inference-server/errors';
import type { Queryable } from '../../database/database.js';

export interface WaitingLimits {
  /** Throws TOO_MANY_REQUESTS when no more tasks may wait, in all or of this owner. */
  requireRoom(on: Queryable, owner: string): Promise<void>;
}

/** Above so many posts since the last count it is time for another. */
const maxNewer = 1_000;
/** What left the queue and came back counts again after this. */
const maxAgeMs = 60_000;
/** At most a twentieth of the time goes into counting. */
const countedForMs = (tookMs: number) => Math.max(100, 20 * tookMs);
const retryAfterS = 10;

/**
 * How many tasks may wait. Posts take no lock for this, so that those which are under way at the same
 * moment may pass a limit together, by their number.
 *
 * A million rows are not counted at every post: the count is kept, and what was posted since, by
 * whichever process, is added. That is never too little by more than the posts in hand; it is too much
 * by what left the queue meanwhile. Hence nobody is refused before the rows were counted anew.
 */
export function createWaitingLimits(limits: {
  total: number;
  /** 0: none. */
  perOwner: number;
}): WaitingLimits {
  let counted: { at: string; tasks: number; since: number; tookMs: number } | undefined;

  const isFull = async (on: Queryable): Promise<boolean> => {
    if (counted !== undefined) {
      const newer = await countNewer(on, counted.at);
      const isFull = counted.tasks + newer >= limits.total;
      const ageMs = performance.now() - counted.since;
      if (!isFull && newer <= maxNewer && ageMs < maxAgeMs) return false;
      if (ageMs < countedForMs(counted.tookMs)) return isFull;
    }
    const since = performance.now();
    const { at, tasks } = await countAll(on, limits.total);
    counted = { at, tasks, since, tookMs: performance.now() - since };
    return tasks >= limits.total;
  };

  return {
    async requireRoom(on, owner) {
      if (await isFull(on)) throw tooMany('The server has as many waiting tasks as it takes.');
      const { perOwner } = limits;
      if (perOwner > 0 && (await countOwn(on, owner, perOwner)) >= perOwner) {
        throw tooMany('You have as many waiting tasks as one may have.');
      }
    },
  };
}

async function countNewer(on: Queryable, at: string): Promise<number> {
  const [row] = await on.query<{ tasks: number }>(
    `SELECT count(*)::int AS tasks FROM tasks
      WHERE state IN ('PENDING', 'QUEUED') AND created_at > $1::timestamptz`,
    [at],
  );
  return row?.tasks ?? 0;
}

/** Since the transaction began: what is posted beside it counts twice rather than not at all. */
async function countAll(on: Queryable, most: number): Promise<{ at: string; tasks: number }> {
  const [row] = await on.query<{ at: string; tasks: number }>(
    `SELECT now()::text AS at, count(*)::int AS tasks
       FROM (SELECT FROM tasks WHERE state IN ('PENDING', 'QUEUED') LIMIT $1) AS waiting`,
    [most],
  );
  return row ?? { at: '-infinity', tasks: 0 };
}

async function countOwn(on: Queryable, owner: string, most: number): Promise<number> {
  const [row] = await on.query<{ tasks: number }>(
    `SELECT count(*)::int AS tasks
       FROM (SELECT FROM tasks
              WHERE owner = $1 AND state IN ('PENDING', 'QUEUED') LIMIT $2) AS waiting`,
    [owner, most],
  );
  return row?.tasks ?? 0;
}

function tooMany(detail: string): AppError {
  return new AppError('TOO_MANY_REQUESTS', detail, { retryAfterS });
}
