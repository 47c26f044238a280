import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GoneConsumers } from '@inference-server/contracts';
import { queueNameOf } from '@inference-server/task-queue';
import { waitUntil } from '@inference-server/testing';
import { ended, runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';
import { stateOfTask } from '../task-helpers.js';

let api: RunningPrivateApi;
let count = 0;
/** A consumer of the test's own, which was heard of just now. */
let id: string;
let consumer: ReturnType<RunningPrivateApi['consumer']>;

beforeAll(async () => {
  api = await runPrivateApi({ CONSUMER_GONE_AFTER_S: 600 });
  await api.postModel('copy');
});
afterAll(() => api.close());
beforeEach(async () => {
  // Nobody else takes the test's tasks.
  await api.database.query(`UPDATE consumers SET draining = true`);
  id = `c${(count += 1)}`;
  consumer = api.consumer(id);
  // Room for what the tests before have left as well.
  await consumer.register({ slots: 1000 });
});

describe('gone for good', () => {
  it('is a consumer that signed off, at once, and one not heard of for so long', async () => {
    expect(await gone()).toBe(false);
    await silence(599);
    expect(await gone()).toBe(false);
    await silence(601);
    expect(await gone()).toBe(true);
    await consumer.register();
    expect(await gone()).toBe(false);
    await consumer.signOff();
    expect(await gone()).toBe(true);
    await consumer.register();
    expect(await gone()).toBe(false);
  });

  it.each(['silent', 'signed off'])('is none that holds an attempt, %s as it is', async (how) => {
    const uid = await claimed();
    if (how === 'silent') await silence(10_000);
    else await consumer.signOff();
    expect(await gone()).toBe(false);
    await consumer.park(uid);
    expect(await gone()).toBe(false);
    await consumer.settle(uid, { kind: 'released', ...ended });
    expect(await gone()).toBe(true);
  });

  it('is none that could resume an attempt, until the next one is claimed', async () => {
    const uid = await claimed();
    await lose(uid);
    await silence(10_000);
    expect(await stateOfTask(api, uid)).toEqual({ state: 'PENDING', attempt: 2 });
    expect(await gone()).toBe(false);
    // It comes back, and does.
    expect(await consumer.renew(uid)).toMatchObject({ outcome: 'renewed' });
    expect(await gone()).toBe(false);
    await lose(uid);
    const next = api.consumer(`${id}-next`);
    await next.register({ slots: 1000 });
    await queued(uid, 2);
    expect(await gone()).toBe(false);
    await next.claim(uid, 2);
    expect(await gone()).toBe(true);
    expect(await consumer.renew(uid)).toEqual({ outcome: 'superseded' });
    await next.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended }, 2);
    expect(await gone()).toBe(true);
  });

  it('is one whose lost attempt has a task that ended meanwhile', async () => {
    const uid = await claimed();
    await lose(uid);
    await silence(10_000);
    expect(await gone()).toBe(false);
    await api.call(`/api/tasks/${uid}/cancel`, { method: 'POST' });
    expect(await gone()).toBe(true);
  });

  it('is one whose tickets leave Redis, and no other', async () => {
    await queued(await api.postTask('copy'), 1);
    await silence(580);
    const isReturned = async () =>
      (await api.database.query(`SELECT 1 FROM tasks WHERE state = 'QUEUED'`)).length === 0;
    expect(await waitUntil(isReturned, { timeoutMs: 10_000 })).toBe(true);
    expect(await ticketKeys()).not.toEqual([]);
    await silence(601);
    const areGone = async () => (await ticketKeys()).length === 0;
    expect(await waitUntil(areGone, { timeoutMs: 10_000 })).toBe(true);
    // It may come back, and go again.
    await consumer.register();
    const areSome = async () => (await ticketKeys()).length > 0;
    expect(await waitUntil(areSome, { timeoutMs: 10_000 })).toBe(true);
    await silence(601);
    expect(await waitUntil(areGone, { timeoutMs: 10_000 })).toBe(true);
  });

  it('is none of which nobody knows anything', async () => {
    await consumer.signOff();
    const answer = await ask([id, 'never-seen']);
    expect(answer).toMatchObject({ gone: [id], unknown: ['never-seen'] });
  });

  it('is told with the installation that these consumers are of', async () => {
    const { installation_id: own } = await consumer.register();
    expect(await ask([])).toEqual({ installation_id: own, gone: [], unknown: [] });
  });

  it('is none that is still heard of, however short the time is set', async () => {
    const other = await runPrivateApi({ CONSUMER_GONE_AFTER_S: 0.001, HEARTBEAT_S: 5 });
    try {
      await other.consumer('c1').register();
      const silentFor = (seconds: number) =>
        other.database.query(
          `UPDATE consumers SET heartbeat_at = now() - $1 * interval '1 second'`,
          [seconds],
        );
      await silentFor(15);
      expect(await ask(['c1'], other)).toMatchObject({ gone: [] });
      await silentFor(21);
      expect(await ask(['c1'], other)).toMatchObject({ gone: ['c1'] });
    } finally {
      await other.close();
    }
  });
});

describe('the question', () => {
  it.each([
    ['no ids', {}],
    ['ids that are none', { consumer_ids: ['-'] }],
    ['too many', { consumer_ids: Array(1_001).fill('c') }],
    ['more', { consumer_ids: [], also: 1 }],
  ])('is refused with %s', async (_what, body) => {
    expect((await post(body, consumer.token)).status).toBe(422);
  });

  it('is for that consumer alone', async () => {
    const body = { consumer_ids: [] };
    expect((await post(body, api.consumer('another').token)).status).toBe(403);
    expect((await post(body, api.operatorToken)).status).toBe(403);
    expect((await post(body, 'wrong')).status).toBe(401);
  });
});

function post(body: unknown, token: string, at = api, as = id): Promise<Response> {
  return at.call(
    `/internal/consumers/${as}/neighbours/gone`,
    {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    },
    token,
  );
}

/** As a neighbour that need not be registered. */
async function ask(ids: readonly string[], at = api): Promise<GoneConsumers> {
  const answer = await post({ consumer_ids: ids }, at.consumer('asker').token, at, 'asker');
  expect(answer.status).toBe(200);
  return (await answer.json()) as GoneConsumers;
}

async function ticketKeys(): Promise<string[]> {
  const redis = new Redis(api.redis.url);
  try {
    return await redis.keys(`${api.redis.prefix}:${queueNameOf(id)}:*`);
  } finally {
    redis.disconnect();
  }
}

async function gone(): Promise<boolean> {
  return (await ask([id])).gone.includes(id);
}

async function silence(seconds: number): Promise<void> {
  await api.database.query(
    `UPDATE consumers SET heartbeat_at = now() - $2 * interval '1 second' WHERE id = $1`,
    [id, seconds],
  );
}

async function queued(uid: string, attempt: number): Promise<void> {
  const is = async () => {
    const row = await stateOfTask(api, uid);
    return row?.state === 'QUEUED' && row.attempt === attempt;
  };
  expect(await waitUntil(is, { timeoutMs: 10_000 })).toBe(true);
}

async function claimed(): Promise<string> {
  const uid = await api.postTask('copy');
  await queued(uid, 1);
  expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won' });
  // From now on it is given nothing.
  await api.database.query(`UPDATE consumers SET draining = true WHERE id = $1`, [id]);
  return uid;
}

async function lose(uid: string): Promise<void> {
  await api.database.query(
    `WITH lost AS (UPDATE attempts SET ended_at = now(), outcome = 'lost' WHERE task_uid = $1)
     UPDATE tasks SET state = 'PENDING', attempt = 2 WHERE uid = $1`,
    [uid],
  );
}
