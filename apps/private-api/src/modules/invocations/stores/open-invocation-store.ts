import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from '../../../config.js';
import type { Database } from '../../../database/database.js';
import type { InvocationStore } from '../invocation-store.js';
import { createMemoryInvocationStore } from './memory-invocation-store.js';
import { createPostgresInvocationStore } from './postgres-invocation-store.js';
import { createRedisInvocationStore } from './redis-invocation-store.js';

const maxMemoryBytes = 512 * 1024 ** 2;

/** The store that INVOCATION_STORE names. */
export function openInvocationStore(
  { INVOCATION_STORE: kind, REDIS_URL: redisUrl, QUEUE_PREFIX: prefix }: InvocationStoreSettings,
  { database, logger }: { database: Database; logger: Logger },
): InvocationStore {
  switch (kind) {
    case 'postgres':
      return createPostgresInvocationStore(database);
    case 'redis':
      if (redisUrl !== undefined) return createRedisInvocationStore({ redisUrl, prefix, logger });
      throw new AppError('INTERNAL', 'INVOCATION_STORE is redis, and there is no REDIS_URL');
    case 'memory':
      return createMemoryInvocationStore(() => performance.now(), maxMemoryBytes);
  }
}

export type InvocationStoreSettings = Pick<Config, 'INVOCATION_STORE' | 'QUEUE_PREFIX'> & {
  REDIS_URL?: string | undefined;
};
