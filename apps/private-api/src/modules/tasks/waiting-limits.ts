import { AppError } from '@inference-server/errors';
import type { Database } from '../../database/database.js';

export interface WaitingLimits {
  /**
   * TOO_MANY_REQUESTS, to be thrown, when no more tasks may wait, in all or of this owner. Asked for
   * outside of a transaction: whoever holds a connection must not wait for a count that needs one.
   */
  refusal(owner: string): Promise<AppError | undefined>;
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
 * by what left the queue meanwhile. Hence nobody is refused before the rows were counted anew. Posts
 * that come together share one count.
 *
 * Of one owner the tasks are counted at every post, twice, up to the limit: no limit costs the least,
 * and one of 100,000 some 17 ms each time for who has as many.
 */
export function createWaitingLimits(
  database: Database,
  limits: {
    total: number;
    /** 0: none. */
    perOwner: number;
  },
): WaitingLimits {
  let kept: Count | undefined;
  let counting: Promise<Count> | undefined;

  const countAnew = (): Promise<Count> =>
    (counting ??= countAll(database, limits.total)
      .then((count) => (kept = count))
      .finally(() => (counting = undefined)));

  const isFull = async (): Promise<boolean> => {
    const count = kept ?? (await countAnew());
    const newer = await countNewer(database, count.at);
    const isFull = count.tasks + newer >= limits.total;
    const ageMs = performance.now() - count.since;
    if (!isFull && newer <= maxNewer && ageMs < maxAgeMs) return false;
    if (ageMs < countedForMs(count.tookMs)) return isFull;
    const anew = await countAnew();
    return anew.tasks + (await countNewer(database, anew.at)) >= limits.total;
  };

  return {
    async refusal(owner) {
      const { perOwner, total } = limits;
      if (await isFull()) {
        return tooMany('The server has as many waiting tasks as it takes.', 'waiting-tasks', total);
      }
      if (perOwner > 0 && (await countOwn(database, owner, perOwner)) >= perOwner) {
        const policy = 'waiting-tasks-per-owner';
        return tooMany('You have as many waiting tasks as one may have.', policy, perOwner);
      }
      return undefined;
    },
  };
}

interface Count {
  tasks: number;
  /** By the database's clock; tasks that were posted later are not in it. */
  at: string;
  /** By this process's. */
  since: number;
  tookMs: number;
}

async function countNewer(database: Database, at: string): Promise<number> {
  const [row] = await database.query<{ tasks: number }>(
    `SELECT count(*)::int AS tasks FROM tasks
      WHERE state IN ('PENDING', 'QUEUED') AND created_at > $1::timestamptz`,
    [at],
  );
  return row?.tasks ?? 0;
}

/** Of the moment when it began: what is posted meanwhile counts twice rather than not at all. */
async function countAll(database: Database, most: number): Promise<Count> {
  const since = performance.now();
  const [row] = await database.query<{ at: string; tasks: number }>(
    `SELECT now()::text AS at, count(*)::int AS tasks
       FROM (SELECT FROM tasks WHERE state IN ('PENDING', 'QUEUED') LIMIT $1) AS waiting`,
    [most],
  );
  const { at, tasks } = row ?? { at: '-infinity', tasks: 0 };
  return { at, tasks, since, tookMs: performance.now() - since };
}

async function countOwn(database: Database, owner: string, most: number): Promise<number> {
  const [row] = await database.query<{ tasks: number }>(
    `SELECT count(*)::int AS tasks
       FROM (SELECT FROM tasks
              WHERE owner = $1 AND state IN ('PENDING', 'QUEUED') LIMIT $2) AS waiting`,
    [owner, most],
  );
  return row?.tasks ?? 0;
}

/** All of it is used; nobody knows when less will be. */
function tooMany(detail: string, policy: string, limit: number): AppError {
  const quota = { policy, unit: 'tasks', limit, used: limit, window_s: null, reset_s: null };
  return new AppError('TOO_MANY_REQUESTS', detail, { retryAfterS, extensions: { quota } });
}
