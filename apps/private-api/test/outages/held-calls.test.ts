import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';
import { claimTask } from '../task-helpers.js';

let api: RunningPrivateApi;
let collecting: NodeJS.Timeout;
beforeAll(async () => {
  api = await runPrivateApi({ LEASE_S: 4.5 });
  await api.postModel('copy');
  setFlagsFromString('--expose-gc');
  collecting = setInterval(runInNewContext('gc') as () => void, 50);
});
afterAll(async () => {
  clearInterval(collecting);
  await api.close();
});

it('a call that is held open is answered in time, whatever garbage is collected meanwhile', async () => {
  const uid = await api.postTask('copy');
  const consumer = await claimTask(api, uid);
  const begun = performance.now();
  const [renewed, waited] = await Promise.all([
    consumer.renew(uid),
    api.call(`/api/tasks/${uid}?wait=1`),
  ]);
  expect(renewed).toMatchObject({ outcome: 'renewed' });
  expect(waited.status).toBe(551);
  expect(performance.now() - begun).toBeLessThan(10_000);
});

it('a renewal is answered while the lease still runs, however short it is', async () => {
  const uid = await api.postTask('copy');
  const consumer = await claimTask(api, uid);
  expect(await consumer.renew(uid)).toMatchObject({ outcome: 'renewed' });
  const [lease] = await api.database.query<{ runs: boolean }>(
    'SELECT lease_until > now() AS runs FROM attempts WHERE task_uid = $1',
    [uid],
  );
  expect(lease?.runs).toBe(true);
});
