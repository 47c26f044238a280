import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

it('a consumer that signs off waits for nobody who is at one of its tasks', async () => {
  const uids = [await api.postTask('copy'), await api.postTask('copy'), await api.postTask('copy')];
  const consumer = api.consumer('c1');
  await consumer.register({ slots: 10 });
  const areIn = (state: string) => async () => {
    const rows = await Promise.all(uids.map((uid) => stateOfTask(api, uid)));
    return rows.every((row) => row?.state === state);
  };
  expect(await waitUntil(areIn('QUEUED'), { timeoutMs: 10_000 })).toBe(true);

  const other = new pg.Client({ connectionString: api.database.url });
  await other.connect();
  try {
    await other.query('BEGIN');
    await other.query('SELECT uid FROM tasks WHERE uid = $1 FOR UPDATE', [uids[1]]);
    expect(await consumer.signOff()).toEqual({ returned_tickets: 2 });
    await other.query('ROLLBACK');
  } finally {
    await other.end();
  }
  expect(await waitUntil(areIn('PENDING'), { timeoutMs: 10_000 })).toBe(true);
});

it('a consumer that is another process has no tickets of the one before, which may have had more', async () => {
  await api.postModel('fast', '&labels=disk=fast');
  const uid = await api.postTask('fast');
  await api.consumer('c2').register({ slots: 10, labels: { disk: 'fast' } });
  const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
  expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
  const silent = `UPDATE consumers SET heartbeat_at = now() - interval '1 minute' WHERE id = 'c2'`;
  await api.database.query(silent);
  await api.consumer('c2', 'another process').register({ labels: {} });
  // With the answer, whatever the dispatcher sees of it.
  expect(await stateOfTask(api, uid)).toMatchObject({ state: 'PENDING' });
});
