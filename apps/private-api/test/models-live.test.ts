import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Model, Problem, Role } from '@inference-server/contracts';
import { createClient, type Client } from '@inference-server/sdk';
import { publicApiToken } from '@inference-server/service-kit';
import { files } from './model-files.js';
import {
  actingFor,
  formOf,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { openSlowly } from './slow-zip.js';
import { registerBoth } from './task-helpers.js';

let api: RunningPrivateApi;
let client: Client;
let count = 0;
let id: string;

beforeAll(async () => {
  api = await runPrivateApi();
  client = createClient({ baseUrl: api.base, token: api.operatorToken });
  await registerBoth(api);
});
afterAll(() => api.close());
beforeEach(() => {
  id = `model ${(count += 1)}:a.b`;
});

const address = (query: Record<string, string>, name = id) =>
  `/api/models/${encodeURIComponent(name)}?${new URLSearchParams(query).toString()}`;
const put = (query: Record<string, string>, body?: FormData) =>
  api.call(address(query), { method: 'PUT', ...(body && { body }) });
const register = (image: string, zip?: Buffer<ArrayBuffer>) => ({
  human_readable_id: id,
  container_tag: image,
  ...(zip && { zip }),
});
const noModel = { code: 'MODEL_NOT_FOUND' };

describe('a put', () => {
  it('registers a model that is not there, and makes the next version of one that is', async () => {
    const first = await client.putModel({ ...register('a:1', files('1')), description: 'one' });
    expect(first).toMatchObject({ version: 1, model_available: true, description: 'one' });
    const second = await client.putModel({ ...register('a:2', files('1')), use_gpu: true });
    expect(second).toEqual({
      ...first,
      version: 2,
      container_tag: 'a:2',
      use_gpu: true,
      description: '',
    });
    expect(await client.getModel(id)).toEqual(second);
    expect(await client.listModels()).toContainEqual(second);
    expect(await client.putModel(register('a:1', files('1')))).toMatchObject({ version: 3 });
    await expect(client.postModel(register('a:1'))).rejects.toMatchObject({ code: 'MODEL_EXISTS' });
  });

  it('of the same image, options and files makes no new version, and keeps no second file', async () => {
    const same = { ...register('a:1', files('1')), pull_policy: 'never', timeout_s: 7 } as const;
    await client.putModel(same);
    const before = await api.stored();
    expect(await client.putModel({ ...same, description: 'better' })).toMatchObject({
      version: 1,
      description: 'better',
    });
    expect(await client.getModel(id)).toMatchObject({ version: 1, description: 'better' });
    expect(await api.stored()).toEqual(before);
    for (const other of [
      { container_tag: 'a:2' },
      { use_gpu: true },
      { pull_policy: 'missing' as const },
      { timeout_s: 8 },
      { retries: 1 },
      { retention_s: 60 },
      { input_retention_s: 60 },
      { log_retention_s: 60 },
      { zip: files('2') },
    ]) {
      const { version } = await client.getModel(id);
      expect(await client.putModel({ ...same, ...other })).toMatchObject({ version: version + 1 });
    }
  });

  it('without a zip makes a version without files, whatever the one before had', async () => {
    await client.putModel(register('a:1', files('1')));
    expect(await client.putModel(register('a:1'))).toMatchObject({
      version: 2,
      model_available: false,
    });
  });

  it('beside others makes as many versions, each with a number of its own', async () => {
    const all = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) => client.putModel(register(`a:${n}`, files(`${n}`)))),
    );
    expect(all.map(({ version }) => version).sort()).toEqual([1, 2, 3, 4, 5, 6]);
    const current = await client.getModel(id);
    expect(all).toContainEqual(current);
    expect(current.version).toBe(6);
    const same = await Promise.all(
      [1, 2, 3, 4].map(() => client.putModel(register('b:1', files('b')))),
    );
    expect(new Set(same.map(({ version }) => version))).toEqual(new Set([7]));
  });

  it('beside posts of the same new name: one post at most comes first', async () => {
    const answers = await Promise.all([
      client.putModel(register('a:1')).then(() => 'put'),
      client.postModel(register('a:2')).then(() => 'posted', codeOf),
      client.postModel(register('a:3')).then(() => 'posted', codeOf),
    ]);
    expect(answers[0]).toBe('put');
    expect(answers.filter((answer) => answer === 'posted').length).toBeLessThanOrEqual(1);
    expect(answers.filter((answer) => answer !== 'MODEL_EXISTS').length).toBe(
      (await client.getModel(id)).version,
    );
  });

  const tag = { container_tag: 'a:1' };
  it.each<[string, Record<string, string>, FormData | undefined, number, string]>([
    ['no image', {}, undefined, 422, 'container_tag'],
    ['a malformed image', { container_tag: 'A b' }, undefined, 422, 'container_tag'],
    ['an id in the query', { ...tag, human_readable_id: 'x' }, undefined, 422, 'human_readable_id'],
    ['an unknown parameter', { ...tag, gpu: '1' }, undefined, 422, 'gpu'],
    ['another mount point', { ...tag, model_mountpoint: '/x' }, undefined, 422, 'model_mountpoint'],
    ['no file', { ...tag, model_available: 'True' }, undefined, 422, 'zip_file'],
    ['an unexpected file', tag, formOf(['zip_file', zipOf({ a: 'b' })]), 422, 'model_available'],
    ['no zip', { ...tag, model_available: 'true' }, formOf(['zip_file', 'text']), 422, ''],
  ])('with %s is refused and changes nothing', async (_what, query, body, status, parameter) => {
    await client.putModel(register('a:1', files('1')));
    const before = await api.stored();
    const response = await put(query, body);
    const problem = (await response.json()) as Problem;
    expect([response.status, problem.parameter ?? '']).toEqual([status, parameter]);
    expect(await api.stored()).toEqual(before);
    expect(await client.getModel(id)).toMatchObject({ version: 1, model_available: true });
  });

  it('with a parameter given twice is refused', async () => {
    const twice = await put({ ...tag, use_gpu: '1' }).then(() =>
      api.call(`${address(tag)}&container_tag=b:1`, { method: 'PUT' }),
    );
    expect([twice.status, ((await twice.json()) as Problem).code]).toEqual([
      400,
      'DUPLICATE_PARAMETER',
    ]);
  });
});

describe('an id in the path', () => {
  it('may be as long as ids are, and hold all that they may', async () => {
    id = `_${'x:. -y'.repeat(33)}z`;
    expect(id).toHaveLength(200);
    const answer = await put({ container_tag: 'a:1' });
    expect(((await answer.json()) as Model).human_readable_id).toBe(id);
    expect(await client.getModel(id)).toMatchObject({ version: 1 });
    await client.deleteModel(id);
  });

  it.each(['x'.repeat(201), ' x', 'x ', '.x', 'a/b', 'ä', 'a\nb', 'a\0b', '%2e'])(
    'out of form is refused: %j',
    async (bad) => {
      const before = await api.stored();
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const query: Record<string, string> = method === 'PUT' ? { container_tag: 'a:1' } : {};
        const answer = await api.call(address(query, bad), { method });
        expect([bad, method, answer.status]).toEqual([bad, method, 422]);
      }
      expect(await api.stored()).toEqual(before);
    },
  );
});

describe('a deleted model', () => {
  it('takes nothing, is not listed, and is gone when it is deleted again', async () => {
    await client.putModel(register('a:1', files('1')));
    await client.deleteModel(id);
    const post = () => client.postTask({ human_readable_id: id, zip: zipOf({ a: 'b' }) });
    await expect(post()).rejects.toMatchObject(noModel);
    await expect(client.getModel(id)).rejects.toMatchObject(noModel);
    await expect(client.deleteModel(id)).rejects.toMatchObject(noModel);
    await expect(client.deleteModel('never')).rejects.toMatchObject(noModel);
    expect((await client.listModels()).map((model) => model.human_readable_id)).not.toContain(id);
  });

  it('can be registered again, by post and by put, as the next version', async () => {
    const first = await client.putModel(register('a:1', files('1')));
    await client.deleteModel(id);
    const posted = await client.postModel(register('a:1', files('1')));
    expect(posted).toMatchObject({ version: 2, model_available: true });
    expect(posted.created_at > first.created_at).toBe(true);
    await client.deleteModel(id);
    expect(await client.putModel(register('a:1', files('1')))).toMatchObject({ version: 3 });
  });

  it('leaves its name to whoever had it: tasks that are still posted to it are meant for theirs', async () => {
    const as = (owner: string, role: Role, method: string, path: string) =>
      api.call(
        path,
        { method, headers: actingFor(owner, role) },
        publicApiToken(api.operatorToken),
      );
    const post = `/api/models/?human_readable_id=${encodeURIComponent(id)}&container_tag=a:1`;
    const put = `/api/models/${encodeURIComponent(id)}?container_tag=a:1`;
    const status = async (answer: Promise<Response>) => (await answer).status;
    expect(await status(as('key:a', 'publish', 'POST', post))).toBe(200);
    expect(await status(as('key:a', 'publish', 'DELETE', put.replace(/\?.*/, '')))).toBe(200);
    expect(await status(as('key:b', 'publish', 'POST', post))).toBe(403);
    expect(await status(as('key:b', 'publish', 'PUT', put))).toBe(403);
    expect(await status(as('key:a', 'publish', 'POST', post))).toBe(200);
    await as('key:a', 'publish', 'DELETE', put.replace(/\?.*/, ''));
    expect(await status(as('key:b', 'operate', 'PUT', put))).toBe(200);
  });

  it('refuses a task that was being posted when it went', async () => {
    await client.putModel(register('a:1'));
    const zip = openSlowly(api, zipOf({ 'input.txt': 'hello' }));
    const posting = client.postTask({ human_readable_id: id, zip: zip.stream });
    const refused = expect(posting).rejects.toMatchObject(noModel);
    await zip.begun();
    const before = await api.stored();
    await client.deleteModel(id);
    zip.finish();
    await refused;
    // What was received of it is gone as well.
    expect(await api.stored()).toMatchObject({ tasks: before.tasks, files: before.files - 1 });
  });
});

function codeOf(error: unknown): string {
  return (error as { code: string }).code;
}
