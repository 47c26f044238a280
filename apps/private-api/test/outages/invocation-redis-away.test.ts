import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { freePort, ownRedis, testFolder, waitUntil } from '@inference-server/testing';
import {
  contentOfInvocation,
  getInvocation,
  headOf,
  storeInvocation,
} from '../invocation-calls.js';
import { runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';

const owner = 'key:a';
const large = 'x'.repeat(2 * 1024 ** 2);

let place: { dataDir: string; port: number };
let redis: Awaited<ReturnType<typeof ownRedis>>;
let api: RunningPrivateApi;
beforeEach(async () => {
  place = { dataDir: await testFolder(), port: await freePort() };
  redis = await ownRedis(place);
  api = await runPrivateApi({
    ...{ REDIS_URL: redis.url, INVOCATION_STORE: 'redis' },
    ...{ ORPHANED_AFTER_S: 0.1, STORAGE_SWEEP_INTERVAL_S: 1, SWEEP_INTERVAL_S: 1, LEASE_S: 1 },
  });
  expect((await storeInvocation(api, owner, headOf(1), large)).status).toBe(200);
});
afterEach(() => api.close());

async function expectAway(asking: Promise<Response>): Promise<void> {
  const began = performance.now();
  const answer = await asking;
  expect(answer.status).toBe(503);
  expect((await answer.json()) as Problem).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  expect(performance.now() - began).toBeLessThan(8_000);
}

/** Nothing is lost, and nothing is left of what was refused. */
async function expectBack(): Promise<void> {
  const isBack = async () => (await getInvocation(api, owner, 1, 'HEAD')).status === 200;
  expect(await waitUntil(isBack, { timeoutMs: 20_000 })).toBe(true);
  expect((await contentOfInvocation(api, owner, 1)) === large).toBe(true);
  expect((await storeInvocation(api, owner, headOf(3), 'again')).status).toBe(200);
  expect(await contentOfInvocation(api, owner, 3)).toBe('again');
  const isClean = async () => (await api.stored()).files === 1;
  expect(await waitUntil(isClean, { timeoutMs: 20_000 })).toBe(true);
}

it('a Redis that is gone is a 503 in time, and nothing else waits for it', async () => {
  await redis.stop();
  await expectAway(storeInvocation(api, owner, headOf(1), 'new'));
  await expectAway(storeInvocation(api, owner, headOf(2), large));
  await expectAway(getInvocation(api, owner, 1));
  expect((await fetch(`${api.base}/readyz`)).status).toBe(200);
  await ownRedis(place);
  await expectBack();
  expect(await contentOfInvocation(api, owner, 2)).toBeUndefined();
}, 90_000);

it('so is one that is silent; what it was sent may be there once it speaks', async () => {
  process.kill(redis.pid, 'SIGSTOP');
  try {
    await expectAway(storeInvocation(api, owner, headOf(4), 'new'));
    await expectAway(getInvocation(api, owner, 1));
  } finally {
    process.kill(redis.pid, 'SIGCONT');
  }
  await expectBack();
  expect([undefined, 'new']).toContain(await contentOfInvocation(api, owner, 4));
}, 90_000);
