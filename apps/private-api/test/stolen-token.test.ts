import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  actingFor,
  finished,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

describe('with the token of another consumer, and all that there is to know of a lease,', () => {
  it('an attempt can be neither read nor moved nor ended', async () => {
    const owner = api.consumer('c1');
    await owner.register();
    const uid = await api.postTask('copy');
    await expect.poll(async () => (await owner.claim(uid)).outcome).toBe('won');

    const thief = api.consumer('c2', owner.holder);
    await thief.register();
    for (const what of ['input', 'model-files'] as const) {
      expect((await thief.fetch(uid, what)).status).toBe(409);
    }
    expect((await thief.putOutput(uid, zipOf({ a: 'forged' }))).status).toBe(409);
    const refused = { outcome: expect.not.stringMatching(/won|renewed|parked|settled/) as string };
    expect(await thief.claim(uid)).toMatchObject(refused);
    expect(await thief.adopt(uid)).toMatchObject(refused);
    expect(await thief.renew(uid)).toMatchObject(refused);
    expect(await thief.park(uid)).toMatchObject(refused);
    expect(await thief.settle(uid, finished('0'.repeat(64)))).toMatchObject(refused);
    expect(await thief.heldAttempts()).toEqual([]);

    expect(await owner.renew(uid)).toMatchObject({ outcome: 'renewed' });
    expect(await owner.finish(uid, zipOf({ a: 'true' }))).toEqual({ outcome: 'settled' });
  });

  it('the other is not spoken for, no task is seen, and nobody is acted for', async () => {
    const owner = api.consumer('c1');
    const { token } = api.consumer('c2');
    const status = async (method: string, path: string, headers = {}) =>
      (await api.call(path, { method, headers }, token)).status;
    const uid = await api.postTask('copy');
    expect(await status('GET', '/internal/consumers/c1/attempts')).toBe(403);
    expect(await status('DELETE', `/internal/consumers/c1?holder=${owner.holder}`)).toBe(403);
    for (const headers of [{}, actingFor('operator', 'admin')]) {
      for (const [method, path] of [
        ['GET', '/api/tasks/'],
        ['GET', `/api/tasks/${uid}`],
        ['GET', `/api/tasks/${uid}/log`],
        ['DELETE', `/api/tasks/${uid}`],
        ['GET', '/api/models/'],
        ['GET', '/api/consumers/'],
        ['GET', '/api/admin/keys/'],
      ] as const) {
        expect([path, await status(method, path, headers)]).toEqual([path, 403]);
      }
    }
    expect(await status('GET', '/internal/consumers/c2/attempts', actingFor('a'))).toBe(403);
  });
});
