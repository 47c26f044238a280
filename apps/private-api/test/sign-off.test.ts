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
