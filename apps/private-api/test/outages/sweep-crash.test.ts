import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newOperatorToken } from '@inference-server/service-kit';
import { freePort, startApp, testRedis, waitUntil } from '@inference-server/testing';
import { zipOf } from '../running-private-api.js';
import { openSweepScene, type SweepScene } from '../sweep-scene.js';

const inTime = { timeoutMs: 20_000 };

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

/** private-api as a process, on what the scene has. */
async function start(settings: Record<string, string> = {}) {
  const redis = await testRedis();
  const port = await freePort();
  const token = newOperatorToken();
  const base = `http://127.0.0.1:${port}`;
  const app = await startApp({
    app: 'private-api',
    settings: {
      PORT: String(port),
      DATABASE_URL: scene.url,
      REDIS_URL: redis.url,
      QUEUE_PREFIX: redis.prefix,
      STORAGE_URL: scene.folder,
      PRIVATE_API_TOKEN: token,
      MIN_FREE_BYTES: '0',
      ...settings,
    },
    ready: `${base}/healthz`,
  });
  return { ...app, base, token };
}

const staged = async () =>
  (await readdir(join(scene.folder, 'staging'))).filter((name) => name.endsWith('.part'));
const filesOf = async () => {
  const entries = await readdir(join(scene.folder, 'blobs'), {
    recursive: true,
    withFileTypes: true,
  });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
};

it('an upload that was cut by kill -9 is gone soon after, and no task came of it', async () => {
  const first = await start();
  const zip = zipOf({ a: 'x'.repeat(10_000) });
  const http = request(`${first.base}/api/tasks/?human_readable_id=copy`, {
    method: 'POST',
    headers: { authorization: `Bearer ${first.token}`, 'content-type': 'application/zip' },
  });
  http.on('error', () => undefined);
  http.write(zip.subarray(0, 100));
  const arrives = async () => (await staged()).length === 1;
  expect(await waitUntil(arrives, inTime)).toBe(true);
  await first.kill();
  http.destroy();
  expect(Object.values(await scene.blobStates())).toEqual(['pending']);
  expect(await staged()).toHaveLength(1);

  const second = await start({ ABANDONED_AFTER_S: '0.5', SWEEP_INTERVAL_S: '0.1' });
  const isGone = async () =>
    Object.keys(await scene.blobStates()).length === 0 && (await staged()).length === 0;
  expect(await waitUntil(isGone, inTime)).toBe(true);
  expect(await scene.query('SELECT uid FROM tasks')).toEqual([]);
  await second.stop();
});

it('a removal that was cut by kill -9 is finished, and takes nothing else', async () => {
  const kept = await scene.file(await scene.row('stored', { bytes: 3 }));
  const marked = await scene.query<{ id: string }>(
    `INSERT INTO blobs (id, state, bytes) SELECT gen_random_uuid(), 'deleting', 3
       FROM generate_series(1, 2000) RETURNING id`,
  );
  for (const { id } of marked) await scene.file(id);
  const first = await start({ SWEEP_INTERVAL_S: '60' });
  // Some files are gone, and their rows are not.
  const isInTheMiddle = async () => (await filesOf()).length < 2001;
  expect(await waitUntil(isInTheMiddle, { ...inTime, everyMs: 1 })).toBe(true);
  await first.kill();
  const left = await scene.blobStates();
  const files = await filesOf();
  expect(files.length).toBeGreaterThan(1);
  // A row outlives its file, never the other way round.
  for (const name of files) expect(left[name]).toBeDefined();

  const second = await start({ SWEEP_INTERVAL_S: '0.1' });
  const isDone = async () => Object.keys(await scene.blobStates()).length === 1;
  expect(await waitUntil(isDone, inTime)).toBe(true);
  expect(await scene.blobStates()).toEqual({ [kept]: 'stored' });
  expect(await filesOf()).toEqual([kept]);
  await second.stop();
}, 90_000);
