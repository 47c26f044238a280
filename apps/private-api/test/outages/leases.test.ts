import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import {
  ended,
  finished,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from '../running-private-api.js';
import { openSlowly } from '../slow-zip.js';
import { claimTask, stateOfTask } from '../task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({ LEASE_S: 30, PARK_S: 500 });
  await api.postModel('copy');
});
afterAll(() => api.close());

const stateOf = (uid: string) => stateOfTask(api, uid);
const claimed = (uid: string) => claimTask(api, uid);
const silence = () =>
  api.database.query(`UPDATE consumers SET heartbeat_at = now() - interval '1 hour'`);
const leaseS = async (uid: string) => {
  const [row] = await api.database.query<{ s: number }>(
    `SELECT extract(epoch FROM lease_until - now())::float8 AS s FROM attempts WHERE task_uid = $1`,
    [uid],
  );
  return row?.s ?? Number.NaN;
};

/** The next process of a consumer that was heard of no more. */
async function succeed(holder: string) {
  await silence();
  const successor = api.consumer('c1', holder);
  await successor.register({ slots: 1000 });
  return successor;
}

describe('a consumer of a name that is in use', () => {
  it('is refused while the other is heard of, and let in when it has signed off', async () => {
    const first = api.consumer('twin', 'one');
    await first.register();
    await expect(api.consumer('twin', 'two').register()).rejects.toThrow(/409.*CONSUMER_EXISTS/);
    await first.register();
    await first.signOff();
    await expect(api.consumer('twin', 'two').register()).resolves.toBeDefined();
    await expect(first.register()).rejects.toThrow(/409.*CONSUMER_EXISTS/);
  });

  it('is let in when the other is silent; the other claims nothing any more', async () => {
    const old = await succeed('old');
    const uid = await api.postTask('copy');
    const queued = async () => (await stateOf(uid))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    await silence();
    const next = api.consumer('c1', 'next');
    await expect(next.register({ slots: 1000 })).resolves.toBeDefined();
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    expect(await old.claim(uid)).toMatchObject({ outcome: 'refused' });
    expect(await next.claim(uid)).toMatchObject({ outcome: 'won' });
  });
});

it('no lease lasts for longer than the longest that is given, whatever a clock has made of it', async () => {
  const uid = await api.postTask('copy');
  const holder = await succeed('of a clock that ran ahead');
  const queued = async () => (await stateOf(uid))?.state === 'QUEUED';
  expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
  await holder.claim(uid);
  await api.database.query(
    `UPDATE attempts SET lease_until = now() + interval '1 hour' WHERE task_uid = $1`,
    [uid],
  );
  expect(await holder.renew(uid)).toMatchObject({ outcome: 'renewed' });
  expect(await leaseS(uid)).toBeLessThanOrEqual(500);
});

describe('an attempt of an earlier process', () => {
  const other = () => api.consumer('c2', 'of another');

  it('is adopted under the next epoch, again the same; its old holder is told so', async () => {
    const uid = await api.postTask('copy');
    const old = await succeed('first holder');
    expect(
      await waitUntil(async () => (await stateOf(uid))?.state === 'QUEUED', { timeoutMs: 10_000 }),
    ).toBe(true);
    await old.claim(uid);
    // Only who speaks for the consumer may adopt; another would take a refusal for a leave to remove.
    await expect(api.consumer('c1', 'nobody').adopt(uid)).rejects.toThrow('CONSUMER_EXISTS');
    await other().register({ state: 'quarantined' });
    expect(await other().adopt(uid)).toEqual({ outcome: 'superseded' });
    const next = await succeed('second holder');
    expect(await next.heldAttempts()).toContainEqual({ task_uid: uid, attempt: 1 });
    const won = await next.adopt(uid);
    expect(won).toMatchObject({ outcome: 'won', epoch: 2, work: { human_readable_id: 'copy' } });
    expect(await next.adopt(uid)).toEqual(won);
    // A ticket that comes again would have it staged anew.
    expect(await next.claim(uid)).toMatchObject({ outcome: 'refused' });
    await expect(old.adopt(uid)).rejects.toThrow('CONSUMER_EXISTS');
    expect(await old.renew(uid)).toEqual({ outcome: 'adopted' });
    expect(await old.park(uid)).toEqual({ outcome: 'adopted' });
    expect(await old.settle(uid, { kind: 'released', ...ended })).toEqual({ outcome: 'adopted' });
    expect((await old.putOutput(uid, zipOf({ a: 'b' }))).status).toBe(409);
    expect(await stateOf(uid)).toEqual({ state: 'RUNNING', attempt: 1 });
    expect(await next.settle(uid, { kind: 'released', ...ended }, 1, 2)).toEqual({
      outcome: 'settled',
    });
    // The container is its successor's to remove, also now.
    expect(await old.renew(uid)).toEqual({ outcome: 'adopted' });
    expect(await next.renew(uid, { epoch: 2 })).toEqual({ outcome: 'superseded' });
  });

  it('is parked for a successor, and adopted also after its lease has lapsed', async () => {
    const uid = await api.postTask('copy');
    const old = await succeed('parking');
    expect(
      await waitUntil(async () => (await stateOf(uid))?.state === 'QUEUED', { timeoutMs: 10_000 }),
    ).toBe(true);
    await old.claim(uid);
    expect(await leaseS(uid)).toBeLessThanOrEqual(30);
    expect(await old.park(uid)).toEqual({ outcome: 'parked', parked_ms: 500_000 });
    expect(await leaseS(uid)).toBeGreaterThan(400);
    // A renewal that was on its way does not undo it.
    expect(await old.renew(uid)).toMatchObject({ outcome: 'renewed' });
    expect(await leaseS(uid)).toBeGreaterThan(400);
    await old.signOff();
    // Whoever waited for it longer than that: the next attempt is there to be claimed.
    await api.database.query(
      `WITH lost AS (UPDATE attempts SET ended_at = now(), outcome = 'lost', reason = 'lease_lost'
                      WHERE task_uid = $1)
       UPDATE tasks SET state = 'PENDING', attempt = 2 WHERE uid = $1`,
      [uid],
    );
    const next = api.consumer('c1', 'late successor');
    await next.register({ slots: 1000 });
    // For those who may not adopt it nothing is resumed either.
    await other().register({ state: 'quarantined' });
    await expect(old.adopt(uid)).rejects.toThrow('CONSUMER_EXISTS');
    expect((await stateOf(uid))?.attempt).toBe(2);
    expect(await other().adopt(uid)).toEqual({ outcome: 'superseded' });
    expect((await stateOf(uid))?.attempt).toBe(2);
    expect(await next.adopt(uid)).toMatchObject({ outcome: 'won', epoch: 2 });
    expect(await stateOf(uid)).toEqual({ state: 'RUNNING', attempt: 1 });
    await next.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended }, 1, 2);
  });

  it('refuses its holder under an earlier epoch', async () => {
    const uid = await api.postTask('copy');
    const first = await succeed('here and there');
    expect(
      await waitUntil(async () => (await stateOf(uid))?.state === 'QUEUED', { timeoutMs: 10_000 }),
    ).toBe(true);
    await first.claim(uid);
    await (await succeed('between')).adopt(uid);
    await succeed('here and there');
    expect(await first.adopt(uid)).toMatchObject({ outcome: 'won', epoch: 3 });
    expect(await first.renew(uid)).toEqual({ outcome: 'adopted' });
    const released = { kind: 'released', ...ended } as const;
    expect(await first.settle(uid, released)).toEqual({ outcome: 'adopted' });
    expect(await first.settle(uid, released, 1, 3)).toEqual({ outcome: 'settled' });
  });

  it('keeps no output that was on its way when it was adopted', async () => {
    const uid = await api.postTask('copy');
    const old = await succeed('sending');
    expect(
      await waitUntil(async () => (await stateOf(uid))?.state === 'QUEUED', { timeoutMs: 10_000 }),
    ).toBe(true);
    await old.claim(uid);
    const before = await api.stored();
    const zip = openSlowly(api, zipOf({ a: 'late' }));
    const sending = api.call(
      `/internal/attempts/${uid}/1/output?epoch=1&holder=${old.holder}`,
      {
        method: 'PUT',
        body: Readable.toWeb(zip.stream) as ReadableStream,
        duplex: 'half',
        headers: { 'content-type': 'application/zip' },
      },
      old.token,
    );
    await zip.begun();
    const next = await succeed('there first');
    expect(await next.adopt(uid)).toMatchObject({ outcome: 'won', epoch: 2 });
    zip.finish();
    expect((await sending).status).toBe(409);
    expect(await api.stored()).toEqual(before);
    await next.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended }, 1, 2);
  });

  it('is superseded once the next attempt is claimed', async () => {
    const uid = await api.postTask('copy');
    const consumer = await succeed('claiming twice');
    const queued = (attempt: number) =>
      waitUntil(
        async () => {
          const row = await stateOf(uid);
          return row?.state === 'QUEUED' && row.attempt === attempt;
        },
        { timeoutMs: 10_000 },
      );
    expect(await queued(1)).toBe(true);
    await consumer.claim(uid);
    await api.database.query(
      `WITH lost AS (UPDATE attempts SET ended_at = now(), outcome = 'lost' WHERE task_uid = $1)
       UPDATE tasks SET state = 'PENDING', attempt = 2 WHERE uid = $1`,
      [uid],
    );
    expect(await queued(2)).toBe(true);
    await consumer.claim(uid, 2);
    const next = await succeed('too late');
    expect(await next.adopt(uid, 1)).toEqual({ outcome: 'superseded' });
    await api.database.query(
      `WITH lost AS (UPDATE attempts SET ended_at = now(), outcome = 'lost'
                      WHERE task_uid = $1 AND number = 2)
       UPDATE tasks SET state = 'PENDING', attempt = 3 WHERE uid = $1`,
      [uid],
    );
    expect(await next.adopt(uid, 1)).toEqual({ outcome: 'superseded' });
    expect(await next.adopt(uid, 2)).toMatchObject({ outcome: 'won', epoch: 2 });
  });
});

describe('cancelling a task', () => {
  const cancel = (uid: string, query = '') =>
    api.call(`/api/tasks/${uid}/cancel${query}`, { method: 'POST' });

  it('ends a waiting one at once, as often as it is asked for', async () => {
    await api.postModel('gpu-only', '&use_gpu=true');
    const uid = await api.postTask('gpu-only');
    for (const time of [1, 2]) {
      const answer = await cancel(uid);
      expect([time, answer.status]).toEqual([time, 200]);
      expect(await answer.json()).toMatchObject({ uid, state: 'CANCELLED', attempts: [] });
    }
    expect(await (await api.call(`/api/tasks/${uid}`)).json()).toMatchObject({
      status: 552,
      task: { state: 'CANCELLED' },
    });
  });

  it('tells the holder of a running one within a second, and waits for it', async () => {
    await silence();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const news = consumer.renew(uid);
    await sleep(300);
    const asked = performance.now();
    const held = cancel(uid, '?wait=20');
    expect(await news).toMatchObject({ outcome: 'renewed', cancel_requested: true });
    expect(performance.now() - asked).toBeLessThan(1_000);
    expect(await (await cancel(uid)).json()).toMatchObject({
      state: 'RUNNING',
      cancel_requested: true,
    });
    expect(await (await api.call(`/api/tasks/${uid}`)).json()).toMatchObject({
      status: 551,
      task: { state: 'RUNNING', cancel_requested: true },
    });
    // A result that comes now is too late.
    expect(await consumer.finish(uid, zipOf({ a: 'b' }))).toEqual({ outcome: 'cancel_requested' });
    const failed = { kind: 'failed', reason: 'exit_code', ...ended } as const;
    expect(await consumer.settle(uid, failed)).toEqual({ outcome: 'cancel_requested' });
    const gone = { kind: 'cancelled', ...ended } as const;
    expect(await consumer.settle(uid, gone)).toEqual({ outcome: 'settled' });
    expect(await consumer.settle(uid, gone)).toEqual({ outcome: 'settled' });
    expect(await (await held).json()).toMatchObject({ state: 'CANCELLED' });
  });

  it('is a 409 when the task ended first, and a 554 for none', async () => {
    await silence();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await consumer.finish(uid, zipOf({ a: 'b' }));
    expect(await (await cancel(uid)).json()).toMatchObject({ status: 409, code: 'TASK_ENDED' });
    expect((await api.call(`/api/tasks/${uid}`)).status).toBe(200);
    expect((await cancel('x'.repeat(43))).status).toBe(554);
  });

  it('comes true with a fault, and with a lease that lapses: there is no other attempt', async () => {
    await silence();
    const faulty = await api.postTask('copy');
    const consumer = await claimed(faulty);
    await cancel(faulty);
    await consumer.settle(faulty, { kind: 'fault', cause: 'engine_away', ...ended });
    expect(await stateOf(faulty)).toEqual({ state: 'CANCELLED', attempt: 1 });

    const lost = await api.postTask('copy');
    const queued = async () => (await stateOf(lost))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    await consumer.claim(lost);
    await cancel(lost);
    await api.database.query(`UPDATE leaders SET steady_since = now() - interval '1 hour'`);
    await api.database.query(
      `UPDATE attempts SET lease_until = now() - interval '1 s' WHERE task_uid = $1`,
      [lost],
    );
    const over = async () => (await stateOf(lost))?.state === 'CANCELLED';
    expect(await waitUntil(over, { timeoutMs: 15_000 })).toBe(true);
    expect(await consumer.renew(lost)).toEqual({ outcome: 'superseded' });
    expect(await consumer.settle(lost, finished('0'.repeat(64)))).toEqual({
      outcome: 'superseded',
    });
  });

  it('is not what a holder may do by itself', async () => {
    await silence();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await expect(consumer.settle(uid, { kind: 'cancelled', ...ended })).rejects.toThrow(/409/);
    expect(await stateOf(uid)).toMatchObject({ state: 'RUNNING' });
  });
});

describe('retries', () => {
  it('pause after a fault, twice as long each time, and not after a release', async () => {
    await silence();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await consumer.settle(uid, { kind: 'fault', cause: 'registry_away', ...ended });
    const pauseS = async () => {
      const [row] = await api.database.query<{ s: number }>(
        `SELECT extract(epoch FROM not_before - now())::float8 AS s FROM tasks WHERE uid = $1`,
        [uid],
      );
      return row?.s ?? Number.NaN;
    };
    expect(await pauseS()).toBeGreaterThan(25);
    expect(await pauseS()).toBeLessThan(30);
    await sleep(1_500);
    expect(await stateOf(uid)).toEqual({ state: 'PENDING', attempt: 2 });
    await api.database.query(`UPDATE tasks SET not_before = now() WHERE uid = $1`, [uid]);
    const queued = async () => (await stateOf(uid))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    await consumer.claim(uid, 2);
    await consumer.settle(uid, { kind: 'fault', cause: 'registry_away', ...ended }, 2);
    expect(await pauseS()).toBeGreaterThan(55);
  });

  it("of a model's own failure are as many as it asks for", async () => {
    await silence();
    await api.postModel('stubborn', '&retries=1');
    const uid = await api.postTask('stubborn');
    const consumer = await claimed(uid);
    const failed = { kind: 'failed', reason: 'exit_code', ...ended } as const;
    await consumer.settle(uid, failed);
    const queued = async () => (await stateOf(uid))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    await consumer.claim(uid, 2);
    await consumer.settle(uid, failed, 2);
    expect(await (await api.call(`/api/tasks/${uid}/status`)).json()).toMatchObject({
      state: 'FAILED',
      human_readable_id: 'stubborn',
      attempts: [
        { number: 1, outcome: 'failed', reason: 'exit_code', exit_code: 0 },
        { number: 2, outcome: 'failed', reason: 'exit_code', exit_code: 0 },
      ],
    });
  });
});

describe('consumers', () => {
  it('are listed with what they do, and drained and resumed by an operator', async () => {
    await api.consumer('silent').register();
    await silence();
    const consumer = api.consumer('drained');
    await consumer.register({ slots: 2, state: 'quarantined', reason: 'no such device' });
    const list = async () =>
      (await (await api.call('/api/consumers/')).json()) as { id: string; state: string }[];
    expect(await list()).toContainEqual(
      expect.objectContaining({
        id: 'drained',
        state: 'quarantined',
        reason: 'no such device',
        draining: false,
        slots: 2,
        running: 0,
        queued: 0,
      }),
    );
    expect((await list()).find(({ id }) => id === 'silent')?.state).toBe('silent');
    await consumer.register({ slots: 1000 });
    const uid = await api.postTask('copy');
    const isQueued = async () => (await stateOf(uid))?.state === 'QUEUED';
    expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
    const drain = await api.call('/api/consumers/drained/drain', { method: 'POST' });
    expect(await drain.json()).toMatchObject({ id: 'drained', draining: true, queued: 0 });
    const back = async () => (await stateOf(uid))?.state === 'PENDING';
    expect(await waitUntil(back, { timeoutMs: 10_000 })).toBe(true);
    await consumer.register({ slots: 1000 });
    await sleep(1_500);
    expect(await back()).toBe(true);
    await api.call('/api/consumers/drained/resume', { method: 'POST' });
    expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
    expect((await api.call('/api/consumers/none/drain', { method: 'POST' })).status).toBe(404);
  });
});
