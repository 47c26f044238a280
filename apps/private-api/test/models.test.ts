import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Model, Problem } from '@inference-server/contracts';
import { formOf, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
});
afterAll(() => api.close());

const address = (query: Record<string, string>) =>
  `/api/models/?${new URLSearchParams(query).toString()}`;
const post = (query: Record<string, string>, body?: FormData) =>
  api.call(address(query), { method: 'POST', ...(body === undefined ? {} : { body }) });

describe('registering a model', () => {
  it('answers with the model; flags default to false and are never null', async () => {
    const response = await post({ container_tag: 'busybox:1', human_readable_id: 'plain' });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      human_readable_id: 'plain',
      version: 1,
      container_tag: 'busybox:1',
      description: '',
      model_available: false,
      use_gpu: false,
      pull_policy: 'missing',
    } satisfies Partial<Model>);
  });

  it('stores the files of a model that has some, and lists it', async () => {
    const before = await api.stored();
    const query = {
      container_tag: 'busybox:1',
      human_readable_id: 'with files',
      description: 'd',
      model_available: 'True',
      use_gpu: 'False',
      input_mountpoint: '/input',
      output_mountpoint: '/output',
      model_mountpoint: '/model',
    };
    const response = await post(query, formOf(['zip_file', zipOf({ 'weights.bin': 'w' })]));
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ model_available: true });
    expect((await api.stored()).files).toBe(before.files + 1);
    const models = (await (await api.call('/api/models')).json()) as Model[];
    expect(models.map((model) => model.human_readable_id)).toContain('with files');
  });

  it('takes a post to the tasks that carries container_tag as a registration', async () => {
    const response = await api.call(
      '/api/tasks/?container_tag=busybox:1&human_readable_id=by-the-old-address',
      { method: 'POST' },
    );
    expect(await response.json()).toMatchObject({ human_readable_id: 'by-the-old-address' });
  });

  it('takes an empty file input of a browser form as no file', async () => {
    const form = new FormData();
    form.append('zip_file', new Blob([]), '');
    const response = await post({ container_tag: 'b:1', human_readable_id: 'empty-input' }, form);
    expect(response.status).toBe(200);
  });

  const id = 'refused';
  const tag = 'busybox:1';
  it.each<[string, Record<string, string>, FormData | undefined, number, string]>([
    ['no image', { human_readable_id: id }, undefined, 422, 'container_tag'],
    ['no id', { container_tag: tag }, undefined, 422, 'human_readable_id'],
    [
      'a malformed image',
      { human_readable_id: id, container_tag: 'A b' },
      undefined,
      422,
      'container_tag',
    ],
    [
      'a malformed id',
      { human_readable_id: ' x', container_tag: tag },
      undefined,
      422,
      'human_readable_id',
    ],
    [
      'an over-long id',
      { human_readable_id: 'x'.repeat(201), container_tag: tag },
      undefined,
      422,
      'human_readable_id',
    ],
    [
      'an over-long description',
      { human_readable_id: id, container_tag: tag, description: 'x'.repeat(10_001) },
      undefined,
      422,
      'description',
    ],
    [
      'a description with a NUL',
      { human_readable_id: id, container_tag: tag, description: 'a\u0000b' },
      undefined,
      422,
      'description',
    ],
    [
      'a bad boolean',
      { human_readable_id: id, container_tag: tag, use_gpu: 'maybe' },
      undefined,
      422,
      'use_gpu',
    ],
    [
      'several GPUs of a model without any',
      { human_readable_id: id, container_tag: tag, gpu_count: '2' },
      undefined,
      422,
      'gpu_count',
    ],
    [
      'no GPU of a model with some',
      { human_readable_id: id, container_tag: tag, use_gpu: 'true', gpu_count: '0' },
      undefined,
      422,
      'gpu_count',
    ],
    [
      'memory of a GPU without one',
      { human_readable_id: id, container_tag: tag, gpu_memory_mib: '1' },
      undefined,
      422,
      'gpu_memory_mib',
    ],
    [
      'fewer cores than an engine takes',
      { human_readable_id: id, container_tag: tag, cpus: '0.001' },
      undefined,
      422,
      'cpus',
    ],
    [
      'less memory than an engine takes',
      { human_readable_id: id, container_tag: tag, memory_mib: '4' },
      undefined,
      422,
      'memory_mib',
    ],
    [
      'more /dev/shm than memory',
      { human_readable_id: id, container_tag: tag, memory_mib: '100', shm_mib: '101' },
      undefined,
      422,
      'shm_mib',
    ],
    [
      'labels that are none',
      { human_readable_id: id, container_tag: tag, labels: 'a' },
      undefined,
      422,
      'labels',
    ],
    [
      'a label twice',
      { human_readable_id: id, container_tag: tag, labels: 'a=1,a=2' },
      undefined,
      422,
      'labels',
    ],
    [
      'another mount point',
      { human_readable_id: id, container_tag: tag, input_mountpoint: '/in' },
      undefined,
      422,
      'input_mountpoint',
    ],
    [
      'an unknown parameter',
      { human_readable_id: id, container_tag: tag, gpu: '1' },
      undefined,
      422,
      'gpu',
    ],
    [
      'a bad pull policy',
      { human_readable_id: id, container_tag: tag, pull_policy: 'x' },
      undefined,
      422,
      'pull_policy',
    ],
    [
      'model_available without a file',
      { human_readable_id: id, container_tag: tag, model_available: 'true' },
      undefined,
      422,
      'zip_file',
    ],
    [
      'a file without model_available',
      { human_readable_id: id, container_tag: tag },
      formOf(['zip_file', zipOf({ a: 'b' })]),
      422,
      'model_available',
    ],
    [
      'needs that contradict each other, with files',
      { human_readable_id: id, container_tag: tag, model_available: 'true', gpu_count: '2' },
      formOf(['zip_file', zipOf({ a: 'b' })]),
      422,
      'gpu_count',
    ],
    [
      'files that are no zip',
      { human_readable_id: id, container_tag: tag, model_available: 'true' },
      formOf(['zip_file', 'text']),
      422,
      '',
    ],
  ])('refuses %s and stores nothing', async (_what, query, body, status, parameter) => {
    const before = await api.stored();
    const response = await post(query, body);
    const problem = (await response.json()) as Problem;
    expect([problem.status, problem.parameter ?? '']).toEqual([status, parameter]);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    expect(await api.stored()).toEqual(before);
  });

  it('refuses a name that is taken, also when both come at once', async () => {
    await api.postModel('taken');
    const again = await post({ container_tag: 'other:1', human_readable_id: 'taken' });
    expect([again.status, ((await again.json()) as Problem).code]).toEqual([409, 'MODEL_EXISTS']);

    const before = await api.stored();
    const query = { container_tag: 'b:1', human_readable_id: 'race', model_available: 'true' };
    const both = await Promise.all(
      [1, 2, 3, 4].map(() => post(query, formOf(['zip_file', zipOf({ a: 'b' })]))),
    );
    expect(both.map((response) => response.status).sort()).toEqual([200, 409, 409, 409]);
    const after = await api.stored();
    expect(after.files).toBe(before.files + 1);
    expect(after.blobs).toBe((before.blobs ?? 0) + 1);
  });
});

describe('tokens', () => {
  it('open what the contract says, to whom it says', async () => {
    const consumer = api.consumer('c1').token;
    const statusOf = async (path: string, token: string, method = 'GET') => {
      const answer = await api.call(path, { method }, token);
      // Read to its end: the documents are larger than what a connection holds by itself.
      await answer.arrayBuffer();
      return answer.status;
    };
    expect(await statusOf('/api/models/', 'wrong')).toBe(401);
    expect(await statusOf('/api/models/', consumer)).toBe(403);
    expect(await statusOf('/internal/consumers/c2?holder=x', consumer, 'DELETE')).toBe(403);
    expect(await statusOf('/internal/consumers/c1?holder=x', api.operatorToken, 'DELETE')).toBe(
      403,
    );
    for (const open of ['/', '/healthz', '/openapi.json', '/docs/']) {
      expect(await statusOf(open, 'wrong')).toBe(200);
    }
  });
});
