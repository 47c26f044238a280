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
  it('goes after a month', async () => {
    await scene.query(
      `INSERT INTO gpu_use (owner, day, gpu_s)
       SELECT days::text, (now() AT TIME ZONE 'UTC')::date - days, 1 FROM unnest(ARRAY[30, 33]) AS days`,
    );
    expect(await scene.take('gpu-use')).toMatchObject({ count: 1 });
    expect(await scene.query('SELECT owner FROM gpu_use')).toEqual([{ owner: '30' }]);
  });
});

describe('events of the audit', () => {
  it('go after the time of the setting, in steps, the oldest first, and no sooner', async () => {
    const days = scene.settings.AUDIT_RETENTION_S / (24 * 3600);
    await scene.query(
      `INSERT INTO audit_events (at, action, owner, credential, address, object_kind, times)
       SELECT now() - $1 * interval '1 day' - n * interval '1 minute', 'a', 'a', 'a', 'a', 'none', n
         FROM unnest(ARRAY(SELECT generate_series(1, 1100)) || ARRAY[-1, -2]) AS n`,
      [days],
    );
    expect(await scene.look('audit')).toEqual({ count: 1_100, bytes: 0 });
    expect(await scene.take('audit')).toMatchObject({ count: 500, more: true });
    const [oldest] = await scene.query<{ n: number }>('SELECT max(times) AS n FROM audit_events');
    expect(oldest).toEqual({ n: 600 });
    expect(await scene.takeWhole('audit')).toEqual({ steps: 2, count: 600, bytes: 0 });
    const left = await scene.query('SELECT times FROM audit_events ORDER BY at');
    expect(left).toEqual([{ times: -1 }, { times: -2 }]);
  });

  it('go once when two sweep at the same time', async () => {
    await scene.query(
      `INSERT INTO audit_events (at, action, owner, credential, address, object_kind)
       SELECT now() - interval '900 days', 'a', 'a', 'a', 'a', 'none' FROM generate_series(1, 800)`,
    );
    const taken = await Promise.all([scene.take('audit'), scene.take('audit')]);
    expect(taken.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThanOrEqual(500);
    const rest = await scene.takeWhole('audit');
    expect(taken.reduce((sum, { count }) => sum + count, rest.count)).toBe(800);
  });
});
