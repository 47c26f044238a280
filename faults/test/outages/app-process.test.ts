import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { newOperatorToken } from '@inference-server/service-kit';
import { freePort, testFolder, waitUntil } from '@inference-server/testing';
import { appProcess, type AppProcessSpec } from '../../src/world/app-process.js';
import type { EndedProcess } from '../../src/world/ended-process.js';
import { isStopped } from '../../src/world/process-family.js';

/** An app starts several times. */
const timeoutMs = 90_000;

it(
  'hands a process over, and runs another of its name beside it',
  { timeout: timeoutMs },
  async () => {
    const { app, ends, start } = await openBench();
    try {
      await start();
      await app.arm('settled');
      const first = app.letGo();
      expect(app.pid).toBeUndefined();
      first.freeze();
      expect(await waitUntil(() => isStopped(first.pid), { timeoutMs: 5_000 })).toBe(true);
      await start();
      expect(app.pid).not.toBe(first.pid);
      // What was armed is the first one's alone.
      expect(await app.disarm('settled')).toBe(false);
      await app.arm('claim_won');
      expect(await app.disarm('claim_won')).toBe(true);
      expect(await app.isStopped()).toBe(false);
      first.thaw();
      expect(await first.end('SIGTERM')).toEqual({ code: 0, signal: null });
      expect(await app.end('SIGTERM')).toEqual({ code: 0, signal: null });
      expect(ends).toMatchObject([
        { name: 'public-api-1', pid: first.pid, wasReplaced: true, asked: { signal: 'SIGTERM' } },
        { name: 'public-api-1', wasReplaced: false, asked: { signal: 'SIGTERM' } },
      ]);
      for (const { lastLines, pid } of ends) {
        expect(lastLines.at(-1)).toMatch(new RegExp(`"pid":${pid}.*"stopped"`));
      }
    } finally {
      await app.close();
    }
  },
);

it(
  'takes a process to serve by its own word, whatever is heard of its name',
  { timeout: timeoutMs },
  async () => {
    const { app, ready, start } = await openBench({
      isReady: () => Promise.resolve(true),
      saysReady: 'listening',
    });
    try {
      await start();
      expect(ready.has(app.pid ?? 0)).toBe(true);
    } finally {
      await app.close();
    }
  },
);

it(
  'tells of a process that ended by itself, and leaves none running',
  { timeout: timeoutMs },
  async () => {
    const { app, ends, start } = await openBench();
    try {
      await start();
      process.kill(app.pid ?? 0, 'SIGKILL');
      expect(await waitUntil(() => ends.length === 1, { timeoutMs: 5_000 })).toBe(true);
      expect(ends).toMatchObject([{ asked: undefined, signal: 'SIGKILL' }]);
      expect(app.pid).toBeUndefined();
      await start();
      app.letGo().freeze();
    } finally {
      await app.close();
    }
    expect(ends).toHaveLength(2);
  },
);

async function openBench(more: Partial<Pick<AppProcessSpec, 'isReady' | 'saysReady'>> = {}) {
  const folder = await testFolder();
  const workFolder = join(folder, 'work');
  await mkdir(workFolder);
  const ends: EndedProcess[] = [];
  const ready = new Set<number>();
  const app = await appProcess({
    ...{ name: 'public-api-1', app: 'public-api', workFolder, folder },
    settings: {
      PUBLIC_API_TOKEN: newOperatorToken(),
      PRIVATE_API_URL: 'http://127.0.0.1:9',
      ANONYMOUS_ROLE: 'publish',
      STOP_GRACE_S: '2',
    },
    environment: inject('environment'),
    isReady: (pid) => Promise.resolve(ready.has(pid)),
    ...more,
    onLine: (_, line) => /listening/i.test(line.msg) && ready.add(line.pid),
    onEnd: (end) => ends.push(end),
    signal: AbortSignal.timeout(timeoutMs),
  });
  /** Each has a port of its own. */
  const start = async () => {
    await app.start({ PORT: String(await freePort()), HOST: '127.0.0.1' });
    expect(await readdir(join(folder, 'public-api-1-points'))).not.toEqual([]);
  };
  return { app, ends, ready, start };
}
