import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestDatabase, waitUntil, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { atTheStart } from '../src/modules/audit/repository.js';
import { createBlobRepository } from '../src/modules/blobs/repository.js';
import type { PendingBlob } from '../src/modules/blobs/service.js';
import {
  createModelRepository,
  requireCurrentVersion,
  type ModelRepository,
} from '../src/modules/models/repository.js';
import { newModel } from './new-model.js';
import { tasksIn } from './task-helpers.js';

let test: TestDatabase;
let database: Database;
let models: ModelRepository;

const copy = newModel();

beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
  models = createModelRepository(database);
  await models.insert(copy, null);
});
afterAll(() => database.close());

async function pendingBlob() {
  const blob = { id: randomUUID(), bytes: 1, sha256: '0'.repeat(64) };
  await createBlobRepository(database).insertPending(blob.id);
  return blob;
}
const insert = (uid: string, humanReadableId: string, input: PendingBlob) =>
  tasksIn(database).insert({
    uid: uid.repeat(43),
    by: atTheStart,
    humanReadableId,
    input,
    idempotencyKey: undefined,
  });
const tasks = () => test.query('SELECT uid FROM tasks');

it('acknowledges no task whose input was taken for abandoned', async () => {
  const input = await pendingBlob();
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
  await expect(insert('a', 'copy', input)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  expect(await tasks()).toEqual([]);
});

it('acknowledges no task of a model that is gone', async () => {
  const input = await pendingBlob();
  await expect(insert('b', 'gone', input)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  expect(await tasks()).toEqual([]);
  // All or nothing: the blob is still its owner's to give up.
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
});

it('a task is bound to the version that is current until its transaction has ended', async () => {
  const waiting = () =>
    test.query(
      `SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
  for (const change of [
    () => models.put({ ...copy, versionId: randomUUID(), containerTag: 'busybox:2' }, null),
    () => models.delete('copy', { by: atTheStart, onlyOf: null }),
  ]) {
    let isChanged = false;
    let changing: Promise<unknown> = Promise.resolve();
    await database.transaction(async (tx) => {
      const version = await requireCurrentVersion(tx, 'copy');
      changing = change().then(() => (isChanged = true));
      const isWaiting = async () => isChanged || (await waiting()).length > 0;
      expect(await waitUntil(isWaiting, { timeoutMs: 5_000 })).toBe(true);
      expect(isChanged).toBe(false);
      // Another task is not held up by the first.
      await database.transaction((other) =>
        requireCurrentVersion(other, 'copy').then((same) => expect(same).toBe(version)),
      );
    });
    await changing;
  }
  expect(await models.find('copy')).toBeUndefined();
});
