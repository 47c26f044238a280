import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newOperatorToken } from '@inference-server/service-kit';
import { freePort, startApp, testRedis, waitUntil } from '@inference-server/testing';
import { contentOfInvocation, headOf, storeInvocation } from '../invocation-calls.js';
import { openSweepScene, type SweepScene } from '../sweep-scene.js';

const owner = 'key:a';
const large = (letter: string) => letter.repeat(2 * 1024 ** 2);

let scene: SweepScene;
let operatorToken: string;
let queue: { url: string; prefix: string };
beforeEach(async () => {
  scene = await openSweepScene();
  operatorToken = newOperatorToken();
  queue = await testRedis();
});
afterEach(() => scene.close());

/** private-api as a process, on what the scene has. */
async function start(settings: Record<string, string> = {}) {
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const app = await startApp({
    app: 'private-api',
    settings: {
      PORT: String(port),
      DATABASE_URL: scene.url,
      REDIS_URL: queue.url,
      QUEUE_PREFIX: queue.prefix,
      STORAGE_URL: scene.folder,
      PRIVATE_API_TOKEN: operatorToken,
      MIN_FREE_BYTES: '0',
      ...settings,
    },
    ready: `${base}/healthz`,
  });
  return { ...app, base, operatorToken };
}

/** Blobs that are no more than rows: their files. */
async function files(): Promise<string[]> {
  const found = await readdir(join(scene.folder, 'blobs'), {
    recursive: true,
    withFileTypes: true,
  });
  return found.filter((entry) => entry.isFile()).map(({ name }) => name);
}

it.each([
  // What was there before stays.
  ['content_stored', 'a'],
  ['invocation_put', 'b'],
] as const)(
  'private-api is killed at %s: of what was and what came there is one whole, and its blob alone',
  async (point, wanted) => {
    const first = await start();
    expect((await storeInvocation(first, owner, headOf(1), large('a'))).status).toBe(200);
    await first.stop();

    const killed = await start({ CRASH_AT: point });
    await expect(storeInvocation(killed, owner, headOf(1), large('b'))).rejects.toThrow();
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    await killed.kill();
    expect(await files()).toHaveLength(2);

    const next = await start({
      ...{ STORAGE_SWEEP_INTERVAL_S: '0.2', SWEEP_INTERVAL_S: '0.2', ORPHANED_AFTER_S: '0.1' },
      // It leads for the first time: nothing is judged before it has for that long.
      LEASE_S: '1',
    });
    expect((await contentOfInvocation(next, owner, 1)) === large(wanted)).toBe(true);
    const isClean = async () => (await files()).length === 1;
    expect(await waitUntil(isClean, { timeoutMs: 20_000 })).toBe(true);
    expect((await contentOfInvocation(next, owner, 1)) === large(wanted)).toBe(true);
    await next.stop();
  },
  90_000,
);
