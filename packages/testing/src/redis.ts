import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { inject } from 'vitest';
import { whenFileEnds } from './clean-up.js';
import { askFixtureHost } from './fixture-host.js';

export interface TestRedis {
  readonly url: string;
  /** The caller's own: every key begins with it. Removed when the file ends. */
  readonly prefix: string;
  /** Every key under the prefix. */
  keys(): Promise<string[]>;
  /** What FLUSHALL does, under the prefix. */
  wipe(): Promise<void>;
}

/** The run's Redis, and a prefix of the caller's own in it. */
export async function testRedis(): Promise<TestRedis> {
  const { url } = await askFixtureHost(inject('fixtureHost'), 'redis');
  const prefix = `is-test-${randomBytes(6).toString('hex')}`;
  const wipe = () =>
    withClient(url, async (client) => {
      const keys = await keysOf(client, prefix);
      if (keys.length > 0) await client.unlink(...keys);
    });
  whenFileEnds('test redis', wipe);
  return { url, prefix, keys: () => withClient(url, (client) => keysOf(client, prefix)), wipe };
}

async function withClient<Result>(
  url: string,
  use: (client: Redis) => Promise<Result>,
): Promise<Result> {
  const client = new Redis(url, { maxRetriesPerRequest: 1 });
  try {
    return await use(client);
  } finally {
    await client.quit();
  }
}

async function keysOf(client: Redis, prefix: string): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', 1000);
    for (const key of keys) found.add(key);
    cursor = next;
  } while (cursor !== '0');
  return [...found].sort();
}
