import { Redis } from 'ioredis';
import { pino } from 'pino';
import { createTestDatabase, testRedis } from '@inference-server/testing';
import { openDatabase } from '../src/database/database.js';
import { createMemoryInvocationStore } from '../src/modules/invocations/stores/memory-invocation-store.js';
import { createPostgresInvocationStore } from '../src/modules/invocations/stores/postgres-invocation-store.js';
import { createRedisInvocationStore } from '../src/modules/invocations/stores/redis-invocation-store.js';
import { describeInvocationStore } from './invocation-store-conformance.js';

const logger = pino({ level: 'silent' });

describeInvocationStore('Postgres', async () => {
  const test = await createTestDatabase();
  const database = openDatabase(test.url, logger);
  return {
    store: createPostgresInvocationStore(database),
    age: async (seconds) => {
      await test.query(
        `UPDATE invocations SET stored_at = stored_at - $1 * interval '1 second',
                expires_at = expires_at - $1 * interval '1 second'`,
        [seconds],
      );
    },
    close: () => database.close(),
  };
});

describeInvocationStore('Redis', async () => {
  const { url, prefix } = await testRedis();
  const store = createRedisInvocationStore({ redisUrl: url, prefix, logger });
  const redis = new Redis(url);
  return {
    store,
    age: async (seconds) => {
      for (const name of ['times', 'ends']) {
        const set = `${prefix}-invocations:${name}`;
        for (const member of await redis.zrange(set, 0, -1)) {
          await redis.zincrby(set, -seconds * 1000, member);
        }
      }
    },
    close: async () => {
      store.close();
      redis.disconnect();
    },
  };
});

describeInvocationStore('memory', async () => {
  let now = 0;
  const store = createMemoryInvocationStore(() => now);
  return {
    store,
    age: async (seconds) => {
      now += seconds * 1000;
    },
    close: async () => store.close(),
  };
});
