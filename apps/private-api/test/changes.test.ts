import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import type { Logger } from '@inference-server/service-kit';
import { createTestDatabase, freePort, waitUntil } from '@inference-server/testing';
import { listenToChanges } from '../src/database/changes.js';

it('keeps nothing of the tries that have failed, however long the database is away', async () => {
  // Node warns of the eleventh listener that is added to one signal.
  const warnings: Error[] = [];
  const note = (warning: Error) => void warnings.push(warning);
  process.on('warning', note);
  let tries = 0;
  const logger = { warn: () => (tries += 1) } as unknown as Logger;
  const changes = listenToChanges(`postgres://127.0.0.1:${await freePort()}/none`, logger);
  try {
    expect(await waitUntil(() => tries >= 12, { timeoutMs: 25_000 })).toBe(true);
    expect(warnings).toEqual([]);
  } finally {
    await changes.close();
    process.off('warning', note);
  }
}, 30_000);

it('leaves nothing at the signal of who waits for many changes', async () => {
  const database = await createTestDatabase();
  const logger = { warn: () => undefined } as unknown as Logger;
  const changes = listenToChanges(database.url, logger);
  const waiting = new AbortController();
  const watch = changes.tasks.watch('uid');
  try {
    for (let change = 0; change < 3; change += 1) {
      let hasChanged = false;
      void watch.next(waiting.signal).then(() => (hasChanged = true));
      // Again until it is heard: it may not listen yet.
      const isHeard = async () => {
        await database.query(`SELECT pg_notify('task_changed', 'uid QUEUED')`);
        return hasChanged;
      };
      expect(await waitUntil(isHeard, { timeoutMs: 10_000 })).toBe(true);
    }
    const last = watch.next(waiting.signal);
    expect(getEventListeners(waiting.signal, 'abort').length).toBeLessThanOrEqual(1);
    waiting.abort();
    await last;
    expect(getEventListeners(waiting.signal, 'abort')).toEqual([]);
  } finally {
    watch.close();
    await changes.close();
  }
});
