import { Redis } from 'ioredis';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';

/**
 * A connection that reconnects for ever (BullMQ wants `maxRetriesPerRequest: null`) and reports an
 * outage once, not at every try.
 */
export function connectRedis(redisUrl: string, logger: Logger): Redis {
  const redis = new Redis(redisUrl, {
    maxRetriesPerRequest: null,
    connectTimeout: 5_000,
    keepAlive: 10_000,
    retryStrategy: (tries) => Math.min(tries * 100, 2_000),
  });
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) logger.warn({ reason: messageOf(error) }, 'Redis is away');
    away = true;
  });
  redis.on('ready', () => {
    if (away) logger.info('Redis is back');
    away = false;
  });
  return redis;
}

/**
 * `work` on Redis, bounded: a command given while Redis is away would wait in the client for ever.
 * Throws SERVICE_UNAVAILABLE.
 */
export async function boundedCall<T>(
  redis: Redis,
  timeoutMs: number,
  work: () => Promise<T>,
): Promise<T> {
  if (redis.status !== 'ready') throw redisAway();
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(redisAway()), timeoutMs);
  });
  try {
    return await Promise.race([work(), overdue]);
  } catch (error) {
    throw error instanceof AppError ? error : redisAway(error);
  } finally {
    clearTimeout(timer);
  }
}

function redisAway(cause?: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', 'Redis is away.', { cause });
}
