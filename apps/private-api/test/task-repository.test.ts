import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { createBlobRepository } from '../src/modules/blobs/repository.js';
import type { PendingBlob } from '../src/modules/blobs/service.js';
import { createModelRepository } from '../src/modules/models/repository.js';
import { createTaskRepository } from '../src/modules/tasks/repository.js';
import { createWaitingLimits } from '../src/modules/tasks/waiting-limits.js';

let test: TestDatabase;
let database: Database;
let versionId: string;

beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
  const models = createModelRepository(database);
  await models.insert({
    versionId: randomUUID(),
    humanReadableId: 'copy',
    containerTag: 'busybox:1',
    description: '',
    useGpu: false,
    pullPolicy: 'missing',
    timeoutS: null,
    retentionS: null,
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
const insert = (uid: string, modelVersionId: string, input: PendingBlob) =>
  createTaskRepository(database, createWaitingLimits({ total: 10, perOwner: 0 })).insert({
    uid: uid.repeat(43),
    owner: 'anonymous',
    humanReadableId: 'copy',
    modelVersionId,
    input,
    idempotencyKey: undefined,
  });
const tasks = () => test.query('SELECT uid FROM tasks');

it('acknowledges no task whose input was taken for abandoned', async () => {
  const input = await pendingBlob();
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
  await expect(insert('a', versionId, input)).rejects.toMatchObject({
    code: 'SERVICE_UNAVAILABLE',
  });
  expect(await tasks()).toEqual([]);
});

it('acknowledges no task of a model version that is gone', async () => {
  const input = await pendingBlob();
  await expect(insert('b', randomUUID(), input)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  expect(await tasks()).toEqual([]);
  // All or nothing: the blob is still its owner's to give up.
  expect(await createBlobRepository(database).abandon(input.id)).toBe(true);
});
