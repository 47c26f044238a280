import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { openSweepScene, type SweepScene } from '../sweep-scene.js';

const command = fileURLToPath(new URL('../../dist/sweep.js', import.meta.url));

let scene: SweepScene;
beforeEach(async () => {
  scene = await openSweepScene();
});
afterEach(() => scene.close());

const sweep = (args: string[], settings: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, [command, ...args], {
    env: { DATABASE_URL: scene.url, STORAGE_URL: scene.folder, ...settings },
    timeout: 20_000,
  });
const rowsOf = (table: string) =>
  Object.fromEntries(
    table
      .split('\n')
      .slice(1)
      .map((line) => line.split(/\s+/))
      .map(([name = '', count, bytes]) => [name, [Number(count), Number(bytes)]]),
  );

it('says with --dry-run what would go, changes nothing, and then does it', async () => {
  const stored = await scene.file(await scene.row('stored', { bytes: 3 }));
  await scene.task('FINISHED', { ended_at: new Date(Date.now() - 60_000), output_blob_id: stored });
  await scene.file(await scene.row('deleting', { bytes: 3 }));
  await scene.file(randomUUID(), { ageS: 7200, content: '12345' });
  await scene.row('stored', { bytes: 7 });
  const before = await scene.everything();
  const { stdout: table } = await sweep(['--dry-run'], { OUTPUT_RETENTION_S: '30' });
  expect(table).toMatch(/^sweep +number +bytes\n/);
  expect(rowsOf(table)).toMatchObject({
    'expired-tasks': [0, 0],
    outputs: [1, 3],
    'deleted-blobs': [1, 3],
    'lost-files': [1, 7],
    'unknown-files': [1, 5],
  });
  expect(await scene.everything()).toEqual(before);

  const { stdout } = await sweep([], { OUTPUT_RETENTION_S: '30', LOG_LEVEL: 'silent' });
  // What the outputs' sweep let go of is there for the next to remove.
  expect(rowsOf(stdout)).toMatchObject({ outputs: [1, 3], 'deleted-blobs': [2, 6] });
  expect(Object.values(await scene.blobStates())).toEqual(['stored']);
});

it.each(['SIGINT', 'SIGTERM'] as const)(
  'is ended by %s within a step, and says what it has done',
  async (signal) => {
    const due = 30_000;
    await scene.query('ALTER TABLE tasks DISABLE TRIGGER tasks_changed');
    await scene.query(
      `INSERT INTO tasks (uid, model_version_id, created_at)
       SELECT md5(n::text), $1::uuid, now() - interval '8 days'
         FROM generate_series(1, ${due}) AS n`,
      [scene.versionId],
    );
    const expired = async () => {
      const [row] = await scene.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM tasks WHERE state = 'EXPIRED'`,
      );
      return row?.n ?? 0;
    };
    const ended = sweep([]);
    const failure = expect(ended).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^expired-tasks +\d+ /m),
      stderr: `sweep failed: it was ended by ${signal}\n`,
    });
    const begun = async () => (await expired()) > 0;
    expect(await waitUntil(begun, { timeoutMs: 10_000, everyMs: 1 })).toBe(true);
    ended.child.kill(signal);
    await failure;
    const { stdout } = await ended.catch((error: unknown) => error as { stdout: string });
    expect(rowsOf(stdout)).toEqual({
      '': [NaN, NaN],
      'expired-tasks': [await expired(), 0],
    });
    expect(await expired()).toBeLessThan(due);
  },
  30_000,
);

it('refuses what it does not know', async () => {
  await expect(sweep(['--dryrun'])).rejects.toMatchObject({ code: 2 });
  await expect(sweep(['--dry-run', '--x'])).rejects.toMatchObject({ code: 2 });
  await expect(sweep(['--dry-run'], { DATABASE_URL: 'x' })).rejects.toMatchObject({ code: 2 });
});
