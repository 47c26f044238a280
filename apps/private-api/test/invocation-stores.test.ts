import { Redis } from 'ioredis';
import { pino } from 'pino';
import { expect, it } from 'vitest';
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
  const store = createMemoryInvocationStore(() => now, 8 * 1024 ** 2);
  return {
    store,
    age: async (seconds) => {
      now += seconds * 1000;
    },
    close: async () => store.close(),
  };
});

it('memory holds no more than it may, and has room again after a sweep', async () => {
  let now = 0;
  const store = createMemoryInvocationStore(() => now, 10_000);
  const put = (id: number, bytes: number) =>
    store.put({ owner: 'a', id }, { head: '{}', content: Buffer.alloc(bytes) });
  await put(1, 4_000);
  await put(2, 3_000);
  const full = expect.objectContaining({ code: 'STORAGE_FULL' }) as Error;
  await expect(put(3, 1_000)).rejects.toThrow(full);
  await expect(put(1, 5_000)).rejects.toThrow(full);
  expect(await store.bytesOf('a')).toBe(7_004);
  await put(1, 3_000);
  await put(3, 900);
  // Those that are next to nothing take their room, too.
  await expect(put(4, 0)).rejects.toThrow(full);
  now = 1_000;
  expect(await store.removeOld(1, 10)).toMatchObject({ count: 3 });
  await put(4, 8_900);
  await expect(put(4, 9_000)).rejects.toThrow(full);
});
