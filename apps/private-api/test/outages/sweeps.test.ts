import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlobStore } from '@inference-server/blob-store';
import { isEnded, type TaskState } from '@inference-server/contracts';
import { sweepUnknownFiles } from '../../src/retention/unknown-files.js';
import { openSweepScene, type SweepScene } from '../sweep-scene.js';

const hour = 3600;

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

describe('abandoned uploads', () => {
  it('go with their files, and those that are heard of stay', async () => {
    const dead = await scene.row('pending', { ageS: 901 });
    await scene.staged(`${dead}.part`);
    const renamed = await scene.file(await scene.row('pending', { ageS: 901 }));
    const alive = await scene.row('pending', { ageS: 890 });
    await scene.staged(`${alive}.part`, { ageS: 5 * hour });
    expect(await scene.look('abandoned-uploads')).toEqual({ count: 2, bytes: 0 });
    await scene.takeAll();
    expect(await scene.blobStates()).toEqual({ [alive]: 'pending' });
    expect(existsSync(scene.stagedPath(`${dead}.part`))).toBe(false);
    expect(existsSync(scene.pathOf(renamed))).toBe(false);
    expect(existsSync(scene.stagedPath(`${alive}.part`))).toBe(true);
  });

  it('are given time after an outage, in which every process tells of its own three times', () => {
    const { ABANDONED_AFTER_S } = scene.settings;
    const sweep = scene.sweeps.find(({ name }) => name === 'abandoned-uploads');
    expect(sweep?.afterLeadingMs).toBe((ABANDONED_AFTER_S * 1000) / 5);
  });

  it('are marked before anything is removed', async () => {
    const dead = await scene.file(await scene.row('pending', { ageS: 901 }));
    await scene.take('abandoned-uploads');
    expect(await scene.blobStates()).toEqual({ [dead]: 'deleting' });
    expect(existsSync(scene.pathOf(dead))).toBe(true);
  });

  it.each<[string, TaskState, Record<string, unknown>, boolean]>([
    ['stay while the attempt runs', 'RUNNING', {}, true],
    [
      'stay while a lost holder may come back',
      'PENDING',
      { ended_at: new Date(), outcome: 'lost' },
      true,
    ],
    ['go when the task is over', 'FAILED', { ended_at: new Date(), outcome: 'lost' }, false],
    [
      'go when the task is cancelled',
      'CANCELLED',
      { ended_at: new Date(), outcome: 'lost' },
      false,
    ],
    ['go when its time is over', 'EXPIRED', { ended_at: new Date(), outcome: 'lost' }, false],
    [
      'go when the attempt was a fault',
      'PENDING',
      { ended_at: new Date(), outcome: 'fault' },
      false,
    ],
  ])('that are outputs: %s', async (_what, state, columns, stays) => {
    const output = await scene.row('pending', { ageS: 2 * hour, bytes: 3 });
    const uid = await scene.task(state, isEnded(state) ? { ended_at: new Date() } : {});
    await scene.attempt(uid, { ...columns, output_blob_id: output });
    await scene.takeAll();
    expect(await scene.blobStates()).toEqual(stays ? { [output]: 'pending' } : {});
  });
});

describe('blobs that are marked for removal', () => {
  it('go, also when their file is gone already, and again when a removal failed', async () => {
    const there = await scene.file(await scene.row('deleting', { bytes: 3 }));
    await scene.row('deleting');
    const stored = await scene.file(await scene.row('stored', { bytes: 3 }));
    // A folder cannot be unlinked, whoever asks.
    const stuck = await scene.row('deleting', { ageS: hour });
    await scene.file(`${stuck.slice(0, 2)}${randomUUID().slice(2)}`);
    await mkdir(scene.pathOf(stuck));
    expect(await scene.take('deleted-blobs')).toEqual({ count: 2, bytes: 3, more: false });
    expect(existsSync(scene.pathOf(there))).toBe(false);
    expect(existsSync(scene.pathOf(stored))).toBe(true);
    expect(await scene.blobStates()).toEqual({ [stuck]: 'deleting', [stored]: 'stored' });
    expect(scene.logged).toMatchObject([{ msg: 'a blob could not be removed', blob: stuck }]);
    await rmdir(scene.pathOf(stuck));
    await scene.take('deleted-blobs');
    expect(await scene.blobStates()).toEqual({ [stored]: 'stored' });
  });

  it('wait for no one who is at the task, and go the next time', async () => {
    const output = await scene.file(await scene.row('deleting', { bytes: 3 }));
    const uid = await scene.task('FINISHED', { ended_at: new Date() });
    await scene.attempt(uid, { ended_at: new Date(), outcome: 'finished', output_blob_id: output });
    await scene.database.transaction(async (tx) => {
      await tx.query('SELECT uid FROM tasks WHERE uid = $1 FOR UPDATE', [uid]);
      await tx.query('UPDATE attempts SET log = NULL WHERE task_uid = $1', [uid]);
      await scene.take('deleted-blobs');
      // As a deletion goes on: it has the attempt, and takes its output.
      await tx.query('UPDATE attempts SET output_blob_id = NULL WHERE task_uid = $1', [uid]);
      await tx.query(`UPDATE blobs SET state = 'deleting' WHERE id = $1`, [output]);
    });
    expect(await scene.blobStates()).toEqual({ [output]: 'deleting' });
    expect(existsSync(scene.pathOf(output))).toBe(false);
    await scene.take('deleted-blobs');
    expect(await scene.blobStates()).toEqual({});
  });

  it('of which many cannot be removed hold the others up for one pass only', async () => {
    const stuck = await scene.query<{ id: string }>(
      `INSERT INTO blobs (id, state, touched_at)
       SELECT gen_random_uuid(), 'deleting', now() - interval '1 hour'
         FROM generate_series(1, 500) RETURNING id`,
    );
    for (const { id } of stuck) await mkdir(scene.pathOf(id), { recursive: true });
    const later = await scene.row('deleting');
    await scene.take('deleted-blobs');
    expect((await scene.blobStates())[later]).toBe('deleting');
    await scene.take('deleted-blobs');
    expect((await scene.blobStates())[later]).toBeUndefined();
  });
});

describe('files that no row knows', () => {
  it('go when they are old by the clock of the disk, and no others do', async () => {
    const old = await scene.file(randomUUID(), { ageS: hour + 60, content: '12345' });
    const young = await scene.file(randomUUID(), { ageS: hour - 60 });
    const known = await scene.file(await scene.row('stored', { bytes: 3 }), { ageS: 9 * hour });
    const pending = await scene.file(await scene.row('pending'), { ageS: 9 * hour });
    expect(await scene.look('unknown-files')).toEqual({ count: 1, bytes: 5 });
    expect(await scene.takeWhole('unknown-files')).toMatchObject({ count: 1, bytes: 5 });
    expect([old, young, known, pending].map((id) => existsSync(scene.pathOf(id)))).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });

  it('are looked for in steps of some hundred files, and removed in steps of fifty', async () => {
    // In one folder of the store.
    for (let i = 0; i < 1100; i += 1) {
      await scene.file(`00${randomUUID().slice(2)}`, { ageS: 2 * hour, content: 'x' });
      await scene.staged(`${i}.part`, { ageS: 2 * hour, content: 'x' });
    }
    // Listed in three, then removed in 22.
    expect(await scene.takeWhole('unknown-files')).toEqual({ steps: 26, count: 1100, bytes: 1100 });
    expect(await scene.takeWhole('staged-files')).toEqual({ steps: 23, count: 1100, bytes: 1100 });
  });

  it('stay when a second look finds their row', async () => {
    const old = await scene.file(randomUUID(), { ageS: 9 * hour });
    const { store, database } = scene;
    const lists: BlobStore = {
      ...store,
      async *list(signal) {
        for await (const files of store.list(signal)) yield files;
        await scene.row('stored', { id: old, bytes: 3 });
      },
    };
    const sweep = sweepUnknownFiles(database, lists, { orphanedAfterS: hour, everyMs: 1 });
    const { signal } = new AbortController();
    for (let more = true; more;) {
      const taken = await sweep.take(signal);
      expect(taken.count).toBe(0);
      more = taken.more;
    }
    expect(existsSync(scene.pathOf(old))).toBe(true);
  });

  it('stay in a store that belongs to another installation, with a loud word', async () => {
    await scene.store.claim('another', new AbortController().signal);
    const old = await scene.file(randomUUID(), { ageS: 9 * hour });
    await scene.staged('old.part', { ageS: 9 * hour });
    await scene.takeAll();
    expect(existsSync(scene.pathOf(old))).toBe(true);
    expect(existsSync(scene.stagedPath('old.part'))).toBe(true);
    expect(scene.logged.filter(({ level }) => level === 50).map(({ sweep }) => sweep)).toEqual([
      'unknown-files',
      'staged-files',
    ]);
    expect(await scene.look('unknown-files')).toEqual({ count: 0, bytes: 0 });
  });
});

describe('files in the staging folder', () => {
  it('go when they are old and no upload is pending', async () => {
    const pending = await scene.row('pending');
    await scene.staged(`${pending}.part`, { ageS: 9 * hour });
    const old = [`${randomUUID()}.part`, `${randomUUID()}.probe`];
    for (const name of old) await scene.staged(name, { ageS: 9 * hour });
    await scene.staged('young.part', { ageS: 60 });
    expect(await scene.look('staged-files')).toEqual({ count: 2, bytes: 8 });
    expect(await scene.takeWhole('staged-files')).toMatchObject({ count: 2, bytes: 8 });
    for (const name of old) expect(existsSync(scene.stagedPath(name))).toBe(false);
    expect(existsSync(scene.stagedPath(`${pending}.part`))).toBe(true);
    expect(existsSync(scene.stagedPath('young.part'))).toBe(true);
  });
});

describe('stored blobs without their file', () => {
  it('are told of loudly, counted, and left as they are', async () => {
    const lost = [];
    for (let i = 0; i < 25; i += 1) lost.push(await scene.row('stored', { bytes: 3 }));
    const short = await scene.file(await scene.row('stored', { bytes: 30 }));
    await scene.file(await scene.row('stored', { bytes: 3 }));
    const before = await scene.everything();
    expect(await scene.takeWhole('lost-files')).toMatchObject({ count: 26, bytes: 105 });
    expect(await scene.everything()).toEqual(before);
    const errors = scene.logged.filter(({ level }) => level === 50);
    expect(errors).toHaveLength(21);
    expect(errors.at(-1)).toMatchObject({ count: 26, msg: 'files of stored blobs are lost' });
    for (const { blob } of errors.slice(0, -1)) expect([...lost, short]).toContain(blob);
  });

  it('are found beyond the first batch', async () => {
    await scene.query(
      `INSERT INTO blobs (id, state, bytes) SELECT gen_random_uuid(), 'stored', 1
         FROM generate_series(1, 1100)`,
    );
    expect(await scene.look('lost-files')).toMatchObject({ count: 1100 });
    // Three batches of rows, a step each, and the end.
    expect(await scene.takeWhole('lost-files')).toEqual({ steps: 4, count: 1100, bytes: 1100 });
  });
});

describe('files of model versions', () => {
  it('go unless the version is current or a task needs it', async () => {
    const stored = async () => scene.file(await scene.row('stored', { bytes: 3 }));
    const [old, waiting, running, ended] = [
      await stored(),
      await stored(),
      await stored(),
      await stored(),
    ];
    await scene.version(2, old);
    const needed = await scene.version(3, waiting);
    await scene.task('PENDING', { model_version_id: needed });
    await scene.task('RUNNING', { model_version_id: await scene.version(4, running) });
    const over = await scene.version(5, ended);
    await scene.task('FINISHED', { model_version_id: over, ended_at: new Date() });
    const current = await stored();
    await scene.query(`UPDATE model_versions SET files_blob_id = $1 WHERE number = 1`, [current]);
    expect(await scene.look('model-files')).toEqual({ count: 2, bytes: 6 });
    await scene.takeAll();
    const kept = { [waiting]: 'stored', [running]: 'stored', [current]: 'stored' };
    expect(await scene.blobStates()).toEqual(kept);

    await scene.query(`UPDATE models SET deleted_at = now()`);
    await scene.query(`UPDATE tasks SET state = 'FAILED', ended_at = now()`);
    await scene.takeAll();
    expect(await scene.blobStates()).toEqual({});
    expect(existsSync(scene.pathOf(current))).toBe(false);
  });
});

describe('keys of posts', () => {
  it('go after 24 hours', async () => {
    const key = (name: string, age: string) =>
      scene.query(
        `INSERT INTO idempotency_keys (owner, key, task_uid, human_readable_id, sha256, created_at)
         VALUES ('a', $1, 'u', 'm', '', now() - $2::interval)`,
        [name, age],
      );
    await key('old', '24 hours 1 minute');
    await key('young', '23 hours 59 minutes');
    expect(await scene.take('idempotency-keys')).toMatchObject({ count: 1 });
    expect(await scene.query('SELECT key FROM idempotency_keys')).toEqual([{ key: 'young' }]);
  });
});

describe('all sweeps', () => {
  it('change nothing when they only look', async () => {
    await fill();
    const before = await scene.everything();
    const found: Record<string, number> = {};
    for (const { name, look } of scene.sweeps) {
      found[name] = (await look(new AbortController().signal)).count;
    }
    expect(await scene.everything()).toEqual(before);
    expect(found).toEqual({
      'expired-tasks': 20,
      inputs: 20,
      outputs: 40,
      logs: 20,
      'ended-replicas': 0,
      'replica-logs': 0,
      'idempotency-keys': 0,
      'login-failures': 0,
      'login-places': 0,
      'gpu-use': 0,
      audit: 0,
      invocations: 0,
      'invocation-contents': 0,
      'model-files': 20,
      'abandoned-uploads': 20,
      'deleted-blobs': 20,
      'lost-files': 0,
      'unknown-files': 20,
      'staged-files': 20,
    });
  });

  it('do the same work when two processes are at it, and come to an end', async () => {
    const kept = await fill();
    const results = await Promise.allSettled([scene.takeAll(), scene.takeAll(), scene.takeAll()]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    // What one has just let go of, another may have skipped.
    await scene.takeAll();
    expect(await scene.blobStates()).toEqual(kept);
    const states = await scene.query<{ state: string; n: number }>(
      'SELECT state, count(*)::int AS n FROM tasks GROUP BY state',
    );
    expect(Object.fromEntries(states.map(({ state, n }) => [state, n]))).toEqual({
      EXPIRED: 20,
      FINISHED: 60,
      PENDING: 1,
    });
    expect(scene.logged.filter(({ level }) => level > 30)).toEqual([]);
    for (const id of Object.keys(kept)) expect(existsSync(scene.pathOf(id))).toBe(true);
  });

  it('expire ten thousand tasks within little memory', async () => {
    const [version] = [scene.versionId];
    await scene.query(
      `WITH b AS (
         INSERT INTO blobs (id, state, bytes) SELECT gen_random_uuid(), 'stored', 1
           FROM generate_series(1, 10000) RETURNING id)
       INSERT INTO tasks (uid, model_version_id, input_blob_id, created_at)
       SELECT md5(id::text), $1::uuid, id, now() - interval '8 days' FROM b`,
      [version],
    );
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    let most = 0;
    for (const sweep of scene.sweeps) {
      for (let more = true; more;) {
        const taken = await sweep.take(new AbortController().signal);
        expect(taken.count).toBeLessThanOrEqual(500);
        more = taken.more;
        most = Math.max(most, process.memoryUsage().heapUsed - before);
      }
    }
    expect(most).toBeLessThan(64 * 1024 ** 2);
    expect(
      await scene.query(
        `SELECT state, count(*)::int AS n, count(input_blob_id)::int AS inputs
           FROM tasks GROUP BY state`,
      ),
    ).toEqual([{ state: 'EXPIRED', n: 10_000, inputs: 0 }]);
    expect(await scene.blobStates()).toEqual({});
  }, 120_000);
});

/** Twenty of everything that goes, and one of what stays; answers with the blobs that stay. */
async function fill(): Promise<Record<string, string>> {
  const ago = (days: number) => new Date(Date.now() - days * 24 * hour * 1000);
  const stored = async () => scene.file(await scene.row('stored', { bytes: 3 }));
  for (let i = 0; i < 20; i += 1) {
    await scene.task('PENDING', { created_at: ago(8) });
    await scene.task('FINISHED', { ended_at: ago(1), input_blob_id: await stored() });
    await scene.task('FINISHED', { ended_at: ago(8), output_blob_id: await stored() });
    const fetched = await scene.task('FINISHED', {
      ended_at: ago(3),
      fetched_at: ago(2),
      output_blob_id: await stored(),
    });
    await scene.attempt(fetched, { ended_at: ago(31), outcome: 'finished', log: 'a' });
    await scene.row('pending', { ageS: 2 * hour });
    await scene.file(await scene.row('deleting', { bytes: 3 }));
    await scene.version(2 + i, await stored());
    await scene.file(randomUUID(), { ageS: 2 * hour });
    await scene.staged(`${randomBytes(4).toString('hex')}.part`, { ageS: 2 * hour });
  }
  const kept = await stored();
  await scene.task('PENDING', { input_blob_id: kept });
  const pending = await scene.file(await scene.row('pending'));
  return { [kept]: 'stored', [pending]: 'pending' };
}
