import { afterEach, beforeEach, expect, it } from 'vitest';
import { openSweepScene, type SweepScene } from './sweep-scene.js';

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

/** Each ended a second before the one that was made before it. */
const ended = (versionId: string, count: number, age = '1 hour') =>
  scene.query(
    `INSERT INTO replicas (id, model_version_id, consumer_id, state, lease_until, ended_at, end_reason, log)
     SELECT gen_random_uuid(), $1, 'c', 'ENDED', now(),
            now() - $3::interval - n * interval '1 second', 'stopped', n::text
       FROM generate_series(1, $2) AS n`,
    [versionId, count, age],
  );
const living = (versionId: string) =>
  scene.query(
    `INSERT INTO replicas (id, model_version_id, consumer_id, lease_until)
     VALUES (gen_random_uuid(), $1, 'c', now())`,
    [versionId],
  );

it('of a version all replicas go that have ended, but the last twenty', async () => {
  const next = await scene.version(2, await scene.row('stored'));
  // Those of another version take no place of failures that count.
  await ended(scene.versionId, 24, '10 minutes');
  await ended(next, 12);
  await living(next);
  expect(await scene.take('ended-replicas')).toMatchObject({ count: 4 });
  const left = await scene.query(
    `SELECT model_version_id = $1 AS first, state, count(*)::int AS count FROM replicas
      GROUP BY 1, 2 ORDER BY 1 DESC, 2`,
    [scene.versionId],
  );
  expect(left).toEqual([
    { first: true, state: 'ENDED', count: 20 },
    { first: false, state: 'STARTING', count: 1 },
    { first: false, state: 'ENDED', count: 12 },
  ]);
});

it('none is kept for longer than logs are', async () => {
  const { LOG_RETENTION_S: keptS } = scene.settings;
  await ended(scene.versionId, 2, `${keptS} seconds`);
  await ended(scene.versionId, 2, `${keptS - 60} seconds`);
  expect(await scene.take('ended-replicas')).toMatchObject({ count: 2 });
});

it('but of a version that is to be hosted the last that tells whether it serves', async () => {
  const { LOG_RETENTION_S: keptS } = scene.settings;
  const setEnds = (what: string) => scene.query(`UPDATE replicas SET ${what} WHERE log = '2'`);
  const left = async () =>
    (await scene.query(`SELECT log FROM replicas ORDER BY ended_at DESC`)).map(({ log }) => log);
  await ended(scene.versionId, 24, '10 minutes');
  await scene.query(`UPDATE replicas SET end_reason = 'lost'`);
  await scene.query(`UPDATE replicas SET end_reason = 'exited' WHERE log = '23' OR log = '24'`);
  await scene.take('ended-replicas');
  expect((await left()).slice(-2)).toEqual(['20', '23']);
  // One that has served, and one that failed before.
  await setEnds(`ready_at = now(), end_reason = 'stopped'`);
  await scene.query(`UPDATE replicas SET ended_at = ended_at - $1 * interval '1 second'`, [keptS]);
  await scene.take('ended-replicas');
  expect(await left()).toEqual(['2']);
  await setEnds(`end_reason = 'image'`);
  expect(await scene.look('ended-replicas')).toMatchObject({ count: 0 });
  await scene.query(`UPDATE models SET deleted_at = now()`);
  expect(await scene.look('ended-replicas')).toMatchObject({ count: 1 });
});

it('a log goes when the server says, or before, when its model does, and its end stays', async () => {
  const short = await scene.version(2, await scene.row('stored'));
  await scene.query(`UPDATE model_versions SET log_retention_s = 600 WHERE id = $1`, [short]);
  await ended(scene.versionId, 1, '11 minutes');
  await ended(short, 1, '11 minutes');
  await ended(short, 1, '9 minutes');
  expect(await scene.take('replica-logs')).toMatchObject({ count: 1, bytes: 1 });
  const logs = () => scene.query(`SELECT log, end_reason FROM replicas ORDER BY ended_at`);
  expect((await logs()).filter(({ log }) => log === null)).toEqual([
    { log: null, end_reason: 'stopped' },
  ]);
  await scene.query(
    `UPDATE replicas SET ended_at = now() - $1 * interval '1 second', log = 'still'`,
    [scene.settings.LOG_RETENTION_S],
  );
  expect(await scene.take('replica-logs')).toMatchObject({ count: 3 });
  expect(await scene.take('replica-logs')).toMatchObject({ count: 0 });
});

it('the files of a version stay as long as it has a replica', async () => {
  const blob = await scene.row('stored', { bytes: 3 });
  const old = await scene.version(2, blob);
  await living(old);
  expect(await scene.look('model-files')).toMatchObject({ count: 0 });
  await scene.query(`UPDATE replicas SET state = 'STOPPING'`);
  expect(await scene.look('model-files')).toMatchObject({ count: 0 });
  await scene.query(`UPDATE replicas SET state = 'ENDED', ended_at = now()`);
  expect(await scene.look('model-files')).toMatchObject({ count: 1 });
});
