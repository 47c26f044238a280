import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSweepScene, type SweepScene } from './sweep-scene.js';

let scene: SweepScene;
beforeAll(async () => {
  scene = await openSweepScene();
});
afterAll(() => scene.close());

describe('wrong passwords', () => {
  it('go after 24 hours', async () => {
    await scene.query(
      `INSERT INTO login_failures (subject, failures, failed_at, blocked_until)
       SELECT 'user:' || hours, 9, now() - hours * interval '1 hour', now()
         FROM unnest(ARRAY[23, 25]) AS hours`,
    );
    expect(await scene.take('login-failures')).toMatchObject({ count: 1 });
    expect(await scene.query('SELECT subject FROM login_failures')).toEqual([
      { subject: 'user:23' },
    ]);
  });
});

describe('where people have logged in from', () => {
  it('goes after 30 days', async () => {
    await scene.query(
      `INSERT INTO login_places (user_name, network, logged_in_at)
       SELECT 'ada', days::text, now() - days * interval '1 day' FROM unnest(ARRAY[29, 31]) AS days`,
    );
    expect(await scene.take('login-places')).toMatchObject({ count: 1 });
    expect(await scene.query('SELECT network FROM login_places')).toEqual([{ network: '29' }]);
  });
});

describe('the use of GPUs', () => {
  it('goes after 30 days', async () => {
    await scene.query(
      `INSERT INTO gpu_use (owner, day, gpu_s)
       SELECT days::text, (now() AT TIME ZONE 'UTC')::date - days, 1 FROM unnest(ARRAY[30, 31]) AS days`,
    );
    expect(await scene.take('gpu-use')).toMatchObject({ count: 1 });
    expect(await scene.query('SELECT owner FROM gpu_use')).toEqual([{ owner: '30' }]);
  });
});
