import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import {
  acceptedUnflushed,
  acknowledgedUnflushed,
  missingBehind,
  wrongOutputs,
} from '../src/checks/durable.js';
import { sha256 } from '../src/digests.js';
import type { World } from '../src/world/world.js';
import { finishes, recordOf } from './records.js';
import { newUid, openRows, type NewTask, type Rows } from './rows.js';

/** `nothing`: no row of one either. */
type StoredOutput = Buffer | 'no file' | 'nothing';

const posted = { sha256: sha256(Buffer.from('input')) };
let rows: Rows;
let world: Pick<World, 'query' | 'storageFolder'>;

beforeAll(async () => {
  rows = await openRows();
  world = { query: rows.query, storageFolder: await testFolder() };
});

it('is content with a row, and every byte of its input', async () => {
  const { uid } = await post(Buffer.from('input'));
  expect(await missingBehind(world, uid, posted)).toBeUndefined();
});

it('finds an answer without a row', async () => {
  const uid = newUid();
  expect(await missingBehind(world, uid, posted)).toBe(`${uid} was answered, and has no row`);
});

it('finds a row without its file', async () => {
  const { uid, file } = await post(Buffer.from('input'));
  await rm(file);
  expect(await missingBehind(world, uid, posted)).toBe(
    `${uid} was answered with no of its 5 bytes`,
  );
});

it.each([
  ['less', 'inpu', 'with 4 of its 5 bytes'],
  ['more', 'inputs', 'with 6 of its 5 bytes'],
  ['other bytes', 'inpuT', 'with other bytes than its own'],
])('finds a file of %s', async (_what, bytes, text) => {
  const { uid, file } = await post(Buffer.from('input'));
  await writeFile(file, bytes);
  expect(await missingBehind(world, uid, posted)).toBe(`${uid} was answered ${text}`);
});

it('finds another zip than the one that was posted, of which its row knows', async () => {
  const { uid } = await post(Buffer.from('other'));
  const text = `${uid} was answered with other bytes than its own`;
  expect(await missingBehind(world, uid, posted)).toBe(text);
});

it('finds an input of which its row tells no length', async () => {
  const inputBlobId = await rows.blob({});
  await writeFile(await fileOf(inputBlobId), '');
  const uid = await rows.task({ state: 'PENDING', inputBlobId });
  expect(await missingBehind(world, uid, posted)).toBe(`${uid} was answered with 0 of its ? bytes`);
});

it.each(['pending', 'deleting'])(
  'finds an input that is %s, and so would be removed',
  async (state) => {
    const { uid } = await post(Buffer.from('input'), state);
    expect(await missingBehind(world, uid, posted)).toBe(
      `${uid} was answered with a ${state} input`,
    );
  },
);

it.each(['PENDING', 'QUEUED', 'RUNNING'] as const)(
  'finds a %s task without an input',
  async (state) => {
    const uid = await rows.task({ state });
    expect(await missingBehind(world, uid, posted)).toBe(`${uid} has no input`);
  },
);

it('wants no input of a task that has ended', async () => {
  const uid = await rows.task({ state: 'FINISHED' });
  expect(await missingBehind(world, uid, posted)).toBeUndefined();
});

it('wants no input of a task that ends while it is looked at', async () => {
  const { uid, file } = await post(Buffer.from('input'));
  await rm(file);
  let looks = 0;
  const query: World['query'] = async (sql, values) => {
    if ((looks += 1) === 2) await rows.query(`UPDATE tasks SET state = 'FINISHED'`);
    return await rows.query(sql, values);
  };
  expect(await missingBehind({ ...world, query }, uid, posted)).toBeUndefined();
  expect(looks).toBe(2);
});

describe('the stored outputs', () => {
  const plan = { ...finishes, output: { result: sha256(Buffer.from('right')) } };
  const retentionS = 600;
  beforeEach(() => rows.clear());

  it('are right, and of those that are not to be had any more nothing is wanted', async () => {
    const minutesAgo = (minutes: number) => Date.now() - minutes * 60_000;
    const told = [
      await finished({}),
      await finished({ fetchedAt: Date.now() }),
      await finished({ fetchedAt: minutesAgo(8) }),
    ];
    expect(await look(told)).toEqual({ looked: 3, wrong: [] });
    const gone = [
      await finished({ fetchedAt: minutesAgo(10) }, 'nothing'),
      await finished({ deleted: true }, 'nothing'),
      await finished({ state: 'FAILED' }, 'nothing'),
    ];
    expect(await look(gone)).toEqual({ looked: 3, wrong: [] });
  });

  it.each<[string, StoredOutput, string]>([
    ['is gone', 'nothing', 'its output is gone before its time'],
    ['has no file', 'no file', 'the file of its output is gone'],
    ['has other bytes', zipOf('wrong'), 'its stored output is not what the model makes'],
    ['is cut', zipOf('right').subarray(0, 40), 'its stored output is not what the model makes'],
  ])('one that %s is found, though it was fetched', async (_what, bytes, text) => {
    const uid = await finished({ fetchedAt: Date.now() }, bytes);
    const { wrong } = await look([uid]);
    expect(wrong).toEqual([`${uid} is finished, and ${text}`]);
    // Of one that no caller knows of others tell.
    expect((await look([])).wrong).toEqual([]);
  });

  it('one that goes while it is looked at is not found', async () => {
    const uid = await finished({}, 'no file');
    let looks = 0;
    const query: World['query'] = async (sql, values) => {
      if ((looks += 1) === 2) await rows.query(`UPDATE tasks SET deleted_at = now()`);
      return await rows.query(sql, values);
    };
    const records = [recordOf({ plan, uids: new Set([uid]) })];
    const { wrong } = await wrongOutputs({ ...world, query }, records, retentionS);
    expect(wrong).toEqual([]);
    expect(looks).toBe(2);
  });

  const look = (uids: readonly string[]) =>
    wrongOutputs(world, [recordOf({ plan, uids: new Set(uids) })], retentionS);

  async function finished(
    task: Partial<NewTask>,
    stored: StoredOutput = zipOf('right'),
  ): Promise<string> {
    if (stored === 'nothing') return await rows.task({ state: 'FINISHED', ...task });
    const outputBlobId = await rows.blob({});
    if (stored !== 'no file') await writeFile(await fileOf(outputBlobId), stored);
    return await rows.task({ state: 'FINISHED', outputBlobId, ...task });
  }

  function zipOf(text: string): Buffer {
    const zip = new AdmZip();
    zip.addFile('result', Buffer.from(text));
    return zip.toBuffer();
  }
});

it('a uid that was answered while nothing could be flushed is found', () => {
  const stroke = { fault: 'no flush', unflushed: { from: 1_000, until: 2_000 } };
  const found = (postedAt: number, acknowledgedAt: number | undefined) => {
    const record = recordOf({ uids: new Set(['uid']), postedAt, acknowledgedAt });
    return acknowledgedUnflushed([record], [{ fault: 'another' }, stroke]);
  };
  expect(found(1_001, 1_999)).toEqual([
    'uid was answered while nothing could be flushed: no flush',
  ]);
  // It may have been flushed before, or after.
  expect(found(1_000, 1_999)).toEqual([]);
  expect(found(1_001, 2_000)).toEqual([]);
  expect(found(1_001, undefined)).toEqual([]);
});

it.each([
  ['in that time', 0, 0, 1],
  ['before', -2_000, 0, 0],
  ['later', 0, 2_000, 0],
])('an output that was begun and accepted %s, while nothing could be flushed', async (...of) => {
  const [, begunMs, acceptedMs, count] = of;
  const now = Date.now();
  const outputBlobId = await rows.blob({});
  await rows.query(`UPDATE blobs SET created_at = $2 WHERE id = $1`, [
    outputBlobId,
    new Date(now + begunMs),
  ]);
  const uid = await rows.task({
    state: 'FINISHED',
    attempts: [{ outcome: 'finished', until: now + acceptedMs }],
  });
  await rows.query(`UPDATE attempts SET output_blob_id = $2 WHERE task_uid = $1`, [
    uid,
    outputBlobId,
  ]);
  const stroke = { fault: 'no flush', unflushed: { from: now - 1_000, until: now + 1_000 } };
  expect(await acceptedUnflushed(rows, { fault: 'another' })).toEqual([]);
  const found = await acceptedUnflushed(rows, stroke);
  expect(found.filter((text) => text.includes(uid))).toHaveLength(count);
});

async function post(bytes: Buffer, state = 'stored'): Promise<{ uid: string; file: string }> {
  const blob = { state, bytes: bytes.length, sha256: sha256(bytes) };
  const inputBlobId = await rows.blob(blob);
  const file = await fileOf(inputBlobId);
  await writeFile(file, bytes);
  return { uid: await rows.task({ state: 'PENDING', inputBlobId }), file };
}

async function fileOf(id: string): Promise<string> {
  const folder = join(world.storageFolder, 'blobs', id.slice(0, 2));
  await mkdir(folder, { recursive: true });
  return join(folder, id);
}
