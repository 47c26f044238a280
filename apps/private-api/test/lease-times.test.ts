import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({ LEASE_S: 4 });
  await api.postModel('copy');
});
afterAll(() => api.close());

describe('a lease', () => {
  it('is told with the claim how long it lasts', async () => {
    const consumer = api.consumer('c1');
    await consumer.register({ slots: 1 });
    const uid = await api.postTask('copy');
    const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
    expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
    expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won', lease_ms: 4_000 });
    expect(await consumer.adopt(uid)).toMatchObject({ outcome: 'won', lease_ms: 4_000 });
  });

  it('outlasts a leader who cannot renew his row: he leads for half a lease at most', async () => {
    const leadsForS = async () => {
      const [row] = await api.database.query<{ s: number }>(
        `SELECT extract(epoch FROM leader_until - now())::float8 AS s
           FROM leaders WHERE name = 'dispatcher'`,
      );
      return row?.s;
    };
    await expect.poll(leadsForS, { timeout: 10_000 }).toBeDefined();
    expect(await leadsForS()).toBeLessThanOrEqual(2);
  });
});
