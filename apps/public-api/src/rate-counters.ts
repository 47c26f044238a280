import { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';

/** How long a request waits for Redis (ms), and how long none does after one has waited in vain. */
const patienceMs = 200;
const pauseMs = 1_000;

/** Subjects of which it is remembered how far they are. */
const most = 10_000;

/** So many in a window, of each subject. */
export interface RateLimit {
  /** Names it, in headers and in Redis. */
  policy: string;
  limit: number;
  windowS: number;
}

/** How far a subject is. `used` is one more than the limit at most. */
export interface RateUse {
  used: number;
  resetS: number;
}

export interface RateCounters {
  /**
   * Counts one more of `subject`, which takes {@link patienceMs} at most. Who was far from the limit a
   * moment ago does not wait for the count. Never throws.
   */
  count(limit: RateLimit, subject: string): Promise<RateUse>;
  /** How many there are, without another. */
  look(limit: RateLimit, subject: string): Promise<RateUse>;
  close(): void;
}

/**
 * Counts in Redis, for all public-apis together: each count is one script there, so that two at once are
 * two; what is let through beyond a limit is what several processes got within the time of an answer of
 * Redis. While Redis is away, or without one, each process counts for itself, from nothing. A window begins
 * with the first that is counted in it.
 */
export function createRateCounters(options: {
  redisUrl: string | undefined;
  /** Of every key in Redis. */
  prefix: string;
  logger: Logger;
}): RateCounters {
  const { redisUrl, prefix, logger } = options;
  const told = new Map<string, Told>();
  const limiters = new Map<string, { inMemory: RateLimiterMemory; inRedis?: RateLimiterRedis }>();
  const redis = redisUrl === undefined ? undefined : connect(redisUrl);
  let isAway = false;
  let pausedUntil = 0;

  redis?.on('error', (error: Error) => beAway(error));
  redis?.on('ready', () => beBack());

  function beAway(error: unknown): void {
    pausedUntil = performance.now() + pauseMs;
    if (!isAway) logger.warn({ reason: messageOf(error) }, 'requests are counted without Redis');
    isAway = true;
  }

  function beBack(): void {
    pausedUntil = 0;
    if (isAway) logger.info('requests are counted in Redis again');
    isAway = false;
  }

  function limitersOf({ policy, limit, windowS }: RateLimit) {
    const known = limiters.get(policy);
    if (known !== undefined) return known;
    const shared = { keyPrefix: `${prefix}-rates:${policy}`, points: limit, duration: windowS };
    const made = {
      inMemory: new RateLimiterMemory(shared),
      ...(redis !== undefined && {
        // Who is over the limit is not asked for in Redis again.
        inRedis: new RateLimiterRedis({
          ...shared,
          storeClient: redis,
          inMemoryBlockOnConsumed: limit + 1,
        }),
      }),
    };
    limiters.set(policy, made);
    return made;
  }

  /** `work` on Redis, or else in memory. */
  async function on(
    limit: RateLimit,
    work: (limiter: RateLimiterMemory | RateLimiterRedis) => Promise<RateLimiterRes | null>,
  ): Promise<RateUse> {
    const { inMemory, inRedis } = limitersOf(limit);
    const isThere = redis?.status === 'ready' && performance.now() >= pausedUntil;
    if (inRedis === undefined || !isThere) return useOf(limit, await resultOf(work(inMemory)));
    // While it is not known to be back, one request tries at a time.
    if (isAway) pausedUntil = performance.now() + pauseMs;
    try {
      const result = await resultOf(inTime(work(inRedis)));
      beBack();
      return useOf(limit, result);
    } catch (error) {
      beAway(error);
      return useOf(limit, await resultOf(work(inMemory)));
    }
  }

  async function count(limit: RateLimit, subject: string, name: string): Promise<RateUse> {
    const use = await on(limit, (limiter) => limiter.consume(subject));
    const before = told.get(name);
    told.delete(name);
    if (told.size >= most) told.delete(told.keys().next().value ?? '');
    told.set(name, {
      used: use.used,
      endsAt: performance.now() + use.resetS * 1000,
      pending: before?.pending ?? 0,
    });
    return use;
  }

  return {
    async count(limit, subject) {
      const name = `${limit.policy} ${subject}`;
      const last = told.get(name);
      const leftMs = (last?.endsAt ?? 0) - performance.now();
      const counted = count(limit, subject, name);
      if (last === undefined || leftMs <= 0 || 2 * (last.used + last.pending) >= limit.limit) {
        return counted;
      }
      last.pending += 1;
      void counted.then(() => {
        const now = told.get(name);
        if (now !== undefined) now.pending = Math.max(0, now.pending - 1);
      });
      return { used: last.used + last.pending, resetS: Math.ceil(leftMs / 1000) };
    },

    look: (limit, subject) => on(limit, (limiter) => limiter.get(subject)),
    close: () => redis?.disconnect(),
  };
}

/** What was last heard of a subject, and how many are counted since of which nothing was heard yet. */
interface Told {
  used: number;
  endsAt: number;
  pending: number;
}

function connect(redisUrl: string): Redis {
  return new Redis(redisUrl, {
    // What cannot be asked at once is counted in memory.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // Whatever nobody waits for any more.
    commandTimeout: 5_000,
    connectTimeout: 5_000,
    keepAlive: 10_000,
    retryStrategy: (tries) => Math.min(tries * 100, 2_000),
  });
}

/** Answers that came while this process was busy are read before their time counts as over. */
async function inTime<Result>(asked: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => setImmediate(() => reject(new Error(`no answer within ${patienceMs} ms`))),
      patienceMs,
    );
  });
  try {
    return await Promise.race([asked, overdue]);
  } finally {
    clearTimeout(timer);
  }
}

/** The library throws what is no error when a limit is passed. */
async function resultOf(asked: Promise<RateLimiterRes | null>): Promise<RateLimiterRes | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof RateLimiterRes) return Object.assign(error, { remainingPoints: -1 });
    throw error;
  }
}

function useOf({ limit }: RateLimit, result: RateLimiterRes | null): RateUse {
  if (result === null) return { used: 0, resetS: 0 };
  const used = result.remainingPoints < 0 ? limit + 1 : limit - result.remainingPoints;
  return { used, resetS: Math.max(1, Math.ceil(result.msBeforeNext / 1000)) };
}
