import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { BlobStore } from '@inference-server/blob-store';
import { waitUntil } from '@inference-server/testing';
import { sweepDeletedBlobs } from '../src/retention/deleted-blobs.js';
import { openSweepScene, type SweepScene } from './sweep-scene.js';

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

it('a blob keeps its row when it is deleting no more', async () => {
  const blob = await scene.file(await scene.row('deleting', { bytes: 3 }));
  const store: BlobStore = {
    ...scene.store,
    async remove() {
      await scene.query(`UPDATE blobs SET state = 'stored' WHERE id = $1`, [blob]);
    },
  };
  const logger = pino({ level: 'silent' });
  const sweep = sweepDeletedBlobs(scene.database, store, { everyMs: 1, logger });
  expect(await sweep.take(new AbortController().signal)).toMatchObject({ count: 0 });
  expect(await scene.blobStates()).toEqual({ [blob]: 'stored' });
});

it.each(['inputs', 'outputs', 'logs'])(
  'what somebody else is at is passed over, and goes the next time: %s',
  async (name) => {
    const longAgo = new Date(Date.now() - 40 * 24 * 3600 * 1000);
    const uid = await scene.task('FINISHED', {
      ended_at: longAgo,
      input_blob_id: await scene.row('stored', { bytes: 3 }),
      output_blob_id: await scene.row('stored', { bytes: 3 }),
    });
    await scene.attempt(uid, { ended_at: longAgo, outcome: 'finished', log: 'abc' });
    await scene.database.transaction(async (tx) => {
      await tx.query('SELECT uid FROM tasks WHERE uid = $1 FOR UPDATE', [uid]);
      await tx.query('SELECT number FROM attempts WHERE task_uid = $1 FOR UPDATE', [uid]);
      let taken: { count: number } | undefined;
      const taking = scene.take(name).then((amount) => (taken = amount));
      taking.catch(() => undefined);
      await waitUntil(() => taken !== undefined, { timeoutMs: 5_000 });
      expect(taken).toMatchObject({ count: 0 });
    });
    expect(await scene.take(name)).toMatchObject({ count: 1, bytes: 3 });
  },
);
