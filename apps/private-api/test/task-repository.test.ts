import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { createBlobRepository } from '../src/modules/blobs/repository.js';
import { createModelRepository } from '../src/modules/models/repository.js';
import { createTaskRepository } from '../src/modules/tasks/repository.js';

let test: TestDatabase;
let database: Database;
let versionId: string;

beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
  const models = createModelRepository(database);
  await models.insert({
    humanReadableId: 'copy',
    containerTag: 'busybox:1',
    description: '',
    useGpu: false,
    pullPolicy: 'missing',
    timeoutS: null,
    retries: 0,
    files: null,
  });
  versionId = (await models.currentVersion('copy'))?.id ?? '';
});
afterAll(() => database.close());

async function pendingBlob() {
  const blob = { id: randomUUID(), bytes: 1, sha256: '0'.repeat(64) };
  await createBlobRepository(database).insertPending(blob.id);
  return blob;
}
const tasks = () => test.query('SELECT uid FROM tasks');

it('acknowledges no task whose input was taken for abandoned', async () => {
  const input = await pendingBlob();
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
  const inserting = createTaskRepository(database).insert('a'.repeat(43), versionId, input);
  await expect(inserting).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  expect(await tasks()).toEqual([]);
});

it('acknowledges no task of a model version that is gone', async () => {
  const input = await pendingBlob();
  const inserting = createTaskRepository(database).insert('b'.repeat(43), randomUUID(), input);
  await expect(inserting).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  expect(await tasks()).toEqual([]);
  // All or nothing: the blob is still its owner's to give up.
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
});
