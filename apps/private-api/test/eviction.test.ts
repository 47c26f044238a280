import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import type { Readiness } from '@inference-server/contracts';
import { createTicketSender } from '@inference-server/task-queue';
import { ownRedis, waitUntil } from '@inference-server/testing';
import { watchEviction } from '../src/modules/operations/eviction-watch.js';
import { runPrivateApi } from './running-private-api.js';

interface LogLine {
  level: number;
  msg: string;
  policy?: string;
}

const inTime = { timeoutMs: 10_000 };
const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

async function admin(url: string): Promise<Redis> {
  const redis = new Redis(url);
  opened.push({ close: () => redis.quit() });
  return redis;
}

function watch(redisUrl: string, times = {}) {
  const logged: LogLine[] = [];
  const logger = pino({}, { write: (line: string) => logged.push(JSON.parse(line) as LogLine) });
  const tickets = createTicketSender({ redisUrl, prefix: 'x', logger: pino({ level: 'silent' }) });
  const watching = watchEviction({ tickets, logger, retryMs: 50, ...times });
  opened.push(tickets, watching);
  return { logged, watching };
}

describe('the eviction policy of Redis', () => {
  it('when it is wrong makes the server degraded, until it is set right', async () => {
    const { url } = await ownRedis();
    const redis = await admin(url);
    const api = await runPrivateApi({ REDIS_URL: url });
    opened.push(api);
    const readiness = async () => (await (await fetch(`${api.base}/readyz`)).json()) as Readiness;
    const says = (state: string) => async () =>
      (await readiness()).checks['redis_eviction'] === state;
    expect(await waitUntil(says('up'), inTime)).toBe(true);
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect(await waitUntil(says('down'), inTime)).toBe(true);
    expect(await readiness()).toMatchObject({ status: 'degraded', checks: { redis: 'up' } });
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
    expect(await waitUntil(says('up'), inTime)).toBe(true);
  });

  it('when it is wrong is complained of, again and again', async () => {
    const { url } = await ownRedis();
    await (await admin(url)).config('SET', 'maxmemory-policy', 'volatile-ttl');
    const { logged } = watch(url, { repeatMs: 50 });
    expect(await waitUntil(() => logged.length >= 3, inTime)).toBe(true);
    for (const line of logged) {
      expect(line).toMatchObject({ level: 50, policy: 'volatile-ttl' });
      expect(line.msg).toContain('maxmemory-policy noeviction');
    }
  });

  it('when it is right is not spoken of', async () => {
    const { url } = await ownRedis();
    const { logged, watching } = watch(url, { repeatMs: 20 });
    const redis = await admin(url);
    const looks = async () =>
      /cmdstat_info:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1];
    expect(await waitUntil(async () => Number((await looks()) ?? 0) > 10, inTime)).toBe(true);
    await watching.check();
    expect(logged).toEqual([]);
  });

  it('when it may not be looked at counts as right, and that is said', async () => {
    const { url } = await ownRedis();
    const redis = await admin(url);
    await redis.acl('SETUSER', 'default', '-info', '-config');
    const { logged, watching } = watch(url);
    expect(await waitUntil(() => logged.length > 0, inTime)).toBe(true);
    expect(logged[0]).toMatchObject({
      level: 40,
      msg: expect.stringMatching(/could not be looked at/),
    });
    await watching.check();
  });
});
