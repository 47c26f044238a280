import { open, rename, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ended, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';
import { claimTask, problemOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const expectAway = async (answer: Response) => {
  expect([answer.status, await answer.json()]).toEqual([
    503,
    expect.objectContaining({ code: 'SERVICE_UNAVAILABLE' }),
  ]);
  expect(answer.headers.has('retry-after')).toBe(true);
};
const post = () =>
  api.call('/api/tasks/?human_readable_id=copy', {
    method: 'POST',
    body: zipOf({ a: 'b' }),
    headers: { 'content-type': 'application/zip' },
  });

it('a store that is away is a 503 for whoever posts or fetches, and nothing is given up', async () => {
  const finished = await api.postTask('copy');
  expect(await (await claimTask(api, finished)).finish(finished, zipOf({ a: 'b' }))).toEqual({
    outcome: 'settled',
  });
  const running = await api.postTask('copy');
  const consumer = await claimTask(api, running);
  const folder = api.config.STORAGE_URL;
  await rename(folder, `${folder}.away`);
  try {
    await expectAway(await post());
    await expectAway(await api.call(`/api/tasks/${finished}`));
    await expectAway(await consumer.fetch(running, 'input'));
  } finally {
    await rename(`${folder}.away`, folder);
  }
  expect((await post()).status).toBe(200);
  expect((await api.call(`/api/tasks/${finished}`)).status).toBe(200);
  expect((await consumer.fetch(running, 'input')).status).toBe(200);
  await consumer.settle(running, { kind: 'failed', reason: 'exit_code', ...ended, exit_code: 1 });
  expect(await problemOfTask(api, running)).toMatchObject({ code: 'TASK_FAILED' });
});

it('a disk that does not keep what it was given is a 503 for whoever posts', async () => {
  const file = await open(join(api.config.STORAGE_URL, 'owner'));
  const handles = Object.getPrototypeOf(file) as FileHandle;
  await file.close();
  const { sync } = handles;
  handles.sync = () =>
    Promise.reject(Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' }));
  try {
    await expectAway(await post());
  } finally {
    handles.sync = sync;
  }
  expect((await post()).status).toBe(200);
});
