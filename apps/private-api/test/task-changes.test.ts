import { expect, it } from 'vitest';
import type { Logger } from '@inference-server/service-kit';
import { freePort, waitUntil } from '@inference-server/testing';
import { listenToTaskChanges } from '../src/database/task-changes.js';

it('keeps nothing of the tries that have failed, however long the database is away', async () => {
  // Node warns of the eleventh listener that is added to one signal.
  const warnings: Error[] = [];
  const note = (warning: Error) => void warnings.push(warning);
  process.on('warning', note);
  let tries = 0;
  const logger = { warn: () => (tries += 1) } as unknown as Logger;
  const changes = listenToTaskChanges(`postgres://127.0.0.1:${await freePort()}/none`, logger);
  try {
    expect(await waitUntil(() => tries >= 12, { timeoutMs: 25_000 })).toBe(true);
    expect(warnings).toEqual([]);
  } finally {
    await changes.close();
    process.off('warning', note);
  }
}, 30_000);
