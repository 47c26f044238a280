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

  it('that has lapsed is resumed once by calls of its holder that come at once, and none is refused', async () => {
    const consumer = api.consumer('c1');
    await consumer.register({ slots: 100 });
    const uid = await api.postTask('copy');
    const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
    expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
    await consumer.claim(uid);
    for (let round = 0; round < 5; round += 1) {
      await api.database.query(
        `WITH lost AS (UPDATE attempts SET ended_at = now(), outcome = 'lost' WHERE task_uid = $1)
         UPDATE tasks SET state = 'PENDING', attempt = 2 WHERE uid = $1`,
        [uid],
      );
      const renewals = Array.from({ length: 8 }, () => consumer.renew(uid));
      const answers = (await Promise.all(renewals)) as { outcome: string }[];
      expect(answers.map(({ outcome }) => outcome)).toEqual(answers.map(() => 'renewed'));
    }
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
