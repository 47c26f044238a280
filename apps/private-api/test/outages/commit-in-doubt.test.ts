import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Model } from '@inference-server/contracts';
import { createTestDatabase, waitUntil } from '@inference-server/testing';
import { startCuttingProxy, type CuttingProxy } from '../cutting-postgres-proxy.js';
import { formOf, runPrivateApi, zipOf, type RunningPrivateApi } from '../running-private-api.js';
import { stateOfTask } from '../task-helpers.js';

let proxy: CuttingProxy;
let api: RunningPrivateApi;
beforeAll(async () => {
  const database = await createTestDatabase();
  proxy = await startCuttingProxy(database.url);
  api = { ...(await runPrivateApi({ DATABASE_URL: proxy.url })), database };
  await api.postModel('copy');
});
afterAll(async () => {
  await api.close();
  await proxy.close();
});
beforeEach(() => proxy.stayAwayFor(0));

const zip = zipOf({ a: 'b' });
const stored = async () => {
  const [rows] = await api.database.query(
    'SELECT (SELECT count(*)::int FROM tasks) AS tasks, (SELECT count(*)::int FROM blobs) AS blobs',
  );
  return { ...rows, files: (await api.stored()).files };
};
const post = (headers: Record<string, string> = {}) =>
  api.call('/api/tasks/?human_readable_id=copy', {
    method: 'POST',
    body: zip,
    headers: { 'content-type': 'application/zip', ...headers },
  });

describe('when the answer to the COMMIT of a post is lost', () => {
  it.each([
    ['and the database is there', 0],
    ['and the database is away for a while', 1_000],
  ])('the task that was made is answered with, %s', async (_when, awayMs) => {
    proxy.stayAwayFor(awayMs);
    const cuts = proxy.cuts();
    proxy.cutNext('answer');
    const answer = await post();
    expect(proxy.cuts()).toBe(cuts + 1);
    expect(answer.status).toBe(200);
    const uid = (await answer.json()) as string;
    expect(await stateOfTask(api, uid)).toEqual({ state: 'PENDING', attempt: 1 });
    const [input] = await api.database.query(
      'SELECT b.state FROM tasks t JOIN blobs b ON b.id = t.input_blob_id WHERE t.uid = $1',
      [uid],
    );
    expect(input).toEqual({ state: 'stored' });
  });

  it('and it was not done, that is said, and nothing is left', async () => {
    const before = await stored();
    const cuts = proxy.cuts();
    proxy.cutNext('statement');
    const answer = await post();
    expect(proxy.cuts()).toBe(cuts + 1);
    expect(answer.status).toBe(503);
    expect(answer.headers.has('retry-after')).toBe(true);
    expect(await stored()).toEqual(before);
  });

  it('and the database is away for too long, a 503 may stand for a task; its key tells', async () => {
    proxy.stayAwayFor(12_000);
    proxy.cutNext('answer');
    expect((await post({ 'idempotency-key': 'long' })).status).toBe(503);
    const [made] = await api.database.query<{ uid: string }>(
      `SELECT task_uid AS uid FROM idempotency_keys WHERE key = 'long'`,
    );
    const again = async () => {
      const answer = await post({ 'idempotency-key': 'long' });
      return answer.status === 200 && (await answer.json()) === made?.uid;
    };
    expect(await waitUntil(again, { timeoutMs: 15_000 })).toBe(true);
  }, 60_000);

  it('the key of the post stands for the task that was made', async () => {
    proxy.cutNext('answer');
    const uid = (await (await post({ 'idempotency-key': 'k' })).json()) as string;
    const before = await stored();
    expect(await (await post({ 'idempotency-key': 'k' })).json()).toBe(uid);
    expect(await stored()).toEqual(before);
  });
});

describe('when the answer to the COMMIT of a registration is lost', () => {
  const register = (id: string) =>
    api.call(`/api/models/?container_tag=a:1&human_readable_id=${id}&model_available=true`, {
      method: 'POST',
      body: formOf(['zip_file', zip]),
    });

  it('the model that was made is answered with', async () => {
    const cuts = proxy.cuts();
    proxy.cutNext('answer');
    const answer = await register('made');
    expect(proxy.cuts()).toBe(cuts + 1);
    expect(answer.status).toBe(200);
    expect((await answer.json()) as Model).toMatchObject({
      human_readable_id: 'made',
      version: 1,
      model_available: true,
    });
    expect((await register('made')).status).toBe(409);
  });

  it('and it was not done, it is done now', async () => {
    const cuts = proxy.cuts();
    proxy.cutNext('statement');
    const answer = await register('late');
    expect(proxy.cuts()).toBe(cuts + 1);
    expect(answer.status).toBe(200);
    expect((await answer.json()) as Model).toMatchObject({ version: 1, model_available: true });
    expect((await register('late')).status).toBe(409);
  });
});

describe('when the answer to the COMMIT of a put is lost', () => {
  const put = (tag: string, files = true) =>
    api.call(`/api/models/put?container_tag=${tag}&model_available=${files}`, {
      method: 'PUT',
      ...(files && { body: formOf(['zip_file', zip]) }),
    });
  const versionAfter = async (cut: 'answer' | 'statement', tag: string, files?: boolean) => {
    const cuts = proxy.cuts();
    proxy.cutNext(cut);
    const answer = await put(tag, files);
    expect(proxy.cuts()).toBe(cuts + 1);
    expect(answer.status).toBe(200);
    return (await answer.json()) as Model;
  };

  it('there is one version more, whether it was committed or not, with its files', async () => {
    expect(await versionAfter('answer', 'a:1')).toMatchObject({
      version: 1,
      model_available: true,
    });
    expect(await versionAfter('statement', 'a:2')).toMatchObject({ version: 2 });
    proxy.stayAwayFor(1_000);
    expect(await versionAfter('answer', 'a:3', false)).toMatchObject({
      version: 3,
      container_tag: 'a:3',
      model_available: false,
    });
    const files = await api.database.query(
      `SELECT v.number, b.state FROM model_versions v LEFT JOIN blobs b ON b.id = v.files_blob_id
        WHERE v.human_readable_id = 'put' ORDER BY v.number`,
    );
    expect(files).toEqual([
      { number: 1, state: 'stored' },
      { number: 2, state: 'stored' },
      { number: 3, state: null },
    ]);
  });

  it('and it changed nothing, there is no version more and no blob is left', async () => {
    await put('a:4');
    const before = await stored();
    expect(await versionAfter('answer', 'a:4')).toMatchObject({ version: 4 });
    expect(await stored()).toEqual(before);
  });
});
