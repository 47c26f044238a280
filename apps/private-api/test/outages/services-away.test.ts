import { afterEach, describe, expect, it } from 'vitest';
import type { Readiness } from '@inference-server/contracts';
import { freePort, ownPostgres, ownRedis, testFolder, waitUntil } from '@inference-server/testing';
import { applyMigrations } from '../../src/database/migrations.js';
import { collectTickets } from '../collect-tickets.js';
import { runPrivateApi, zipOf } from '../running-private-api.js';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of opened.splice(0)) await app.close();
});

const readinessOf = async (api: { base: string }) => {
  const response = await fetch(`${api.base}/readyz`);
  return { status: response.status, body: (await response.json()) as Readiness };
};

describe('without Redis', () => {
  it('starts, accepts tasks, says degraded, and sends the tickets once Redis is there', async () => {
    const place = { dataDir: await testFolder(), port: await freePort() };
    const { url, stop } = await ownRedis(place);
    await stop();
    const api = await runPrivateApi({ REDIS_URL: url, HEARTBEAT_S: 1 });
    opened.push(api);
    await api.postModel('copy');
    await api.consumer('c1').register();
    expect(await api.postTask('copy')).toHaveLength(43);
    const { status, body } = await readinessOf(api);
    expect([status, body.status, body.checks['redis']]).toEqual([200, 'degraded', 'down']);
    await ownRedis(place);
    const tickets = collectTickets({ redisUrl: url, prefix: api.redis.prefix, consumerId: 'c1' });
    opened.unshift(tickets.receiver);
    expect(await waitUntil(() => tickets.taken.length > 0, { timeoutMs: 15_000 })).toBe(true);
  });
});

describe('with a Redis that is silent', () => {
  it('is degraded, not down, and accepts tasks', async () => {
    const redis = await ownRedis();
    const api = await runPrivateApi({ REDIS_URL: redis.url });
    opened.push(api);
    await api.postModel('copy');
    const known = async () => (await readinessOf(api)).body.checks['redis'] === 'up';
    expect(await waitUntil(known, { timeoutMs: 10_000 })).toBe(true);
    process.kill(redis.pid, 'SIGSTOP');
    try {
      const silent = async () => (await readinessOf(api)).body.checks['redis'] === 'down';
      expect(await waitUntil(silent, { timeoutMs: 10_000 })).toBe(true);
      expect((await readinessOf(api)).status).toBe(200);
      expect(await api.postTask('copy')).toHaveLength(43);
    } finally {
      process.kill(redis.pid, 'SIGCONT');
    }
  });
});

describe('without Postgres', () => {
  it('answers 503 with Retry-After, says down, and goes on when it is back', async () => {
    const place = { dataDir: await testFolder(), port: await freePort() };
    const postgres = await ownPostgres(place);
    await applyMigrations(postgres.url);
    const api = await runPrivateApi({ DATABASE_URL: postgres.url });
    opened.push(api);
    await api.postModel('copy');
    await postgres.stop();

    const post = () =>
      api.call('/api/tasks/?human_readable_id=copy', {
        method: 'POST',
        body: zipOf({ a: 'b' }),
        headers: { 'content-type': 'application/zip' },
      });
    const refused = await post();
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
    const { status, body } = await readinessOf(api);
    expect([status, body.status, body.checks['postgres']]).toEqual([503, 'down', 'down']);
    expect((await fetch(`${api.base}/healthz`)).status).toBe(200);

    await ownPostgres(place);
    const back = async () => (await post()).status === 200;
    expect(await waitUntil(back, { timeoutMs: 15_000 })).toBe(true);
  });
});
