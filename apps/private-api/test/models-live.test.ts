import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimAnswer, Model, Problem } from '@inference-server/contracts';
import { createClient, type Client } from '@inference-server/sdk';
import { waitUntil } from '@inference-server/testing';
import { formOf, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
let client: Client;
let count = 0;
let id: string;

beforeAll(async () => {
  api = await runPrivateApi({ SWEEP_INTERVAL_S: 0.2 });
  client = createClient({ baseUrl: api.base, token: api.operatorToken });
});
afterAll(() => api.close());
beforeEach(() => {
  id = `model ${(count += 1)}:a.b`;
});

/** Always the same bytes: a zip that is made anew has another time in it. */
const files = (content: string) => {
  const zip = zips.get(content) ?? zipOf({ 'weights.bin': content });
  zips.set(content, zip);
  return zip;
};
const zips = new Map<string, Buffer<ArrayBuffer>>();
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
      client.postModel(register('a:2')).then(
        () => 'posted',
        ({ code }: { code: string }) => code,
      ),
      client.postModel(register('a:3')).then(
        () => 'posted',
        ({ code }: { code: string }) => code,
      ),
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

  it('refuses a task that was being posted when it went', async () => {
    await client.putModel(register('a:1'));
    const zip = openSlowly(zipOf({ 'input.txt': 'hello' }));
    const posting = client.postTask({ human_readable_id: id, zip: zip.stream });
    const refused = expect(posting).rejects.toMatchObject(noModel);
    await zip.begun();
    const before = await api.stored();
    await client.deleteModel(id);
    zip.finish();
    await refused;
    // What was received of it is gone as well.
    expect(await api.stored()).toMatchObject({ tasks: before.tasks, files: before.files! - 1 });
  });
});

describe('a task', () => {
  it('has the version that was current when its post was complete', async () => {
    await client.putModel(register('a:1', files('1')));
    const before = await post();
    const zip = openSlowly(zipOf({ 'input.txt': 'hello' }));
    const posting = client.postTask({ human_readable_id: id, zip: zip.stream });
    await zip.begun();
    await client.putModel(register('a:2', files('2')));
    zip.finish();
    const after = await posting;
    expect(await claim(before)).toMatchObject({ work: { container_tag: 'a:1' } });
    expect(await claim(after)).toMatchObject({ work: { container_tag: 'a:2' } });
    expect(await modelFilesOf(before)).toEqual(files('1'));
    expect(await modelFilesOf(after)).toEqual(files('2'));
    await settle(before, after);
  });

  it.each([
    ['waits', 0],
    ['runs', 1],
  ])('that %s when its model is deleted ends with its files, which go then', async (_state, at) => {
    await client.putModel(register('a:1', files(`${id} 1`)));
    const old = await post();
    await client.putModel(register('a:2', files(`${id} 2`)));
    const uid = await post();
    if (at === 1) await claim(old);
    if (at === 1) await claim(uid);
    await client.deleteModel(id);
    // Sweeps go over it and leave it alone.
    await sweepsPass();
    expect(await blobsOf(id)).toBe(2);
    expect(await unused(await versionsOf(id))).toEqual([]);
    if (at === 0) await claim(old);
    if (at === 0) await claim(uid);
    expect(await modelFilesOf(old)).toEqual(files(`${id} 1`));
    expect(await modelFilesOf(uid)).toEqual(files(`${id} 2`));
    await settle(old);
    expect(await waitUntil(async () => (await blobsOf(id)) === 1, { timeoutMs: 10_000 })).toBe(
      true,
    );
    expect(await modelFilesOf(uid)).toEqual(files(`${id} 2`));
    await settle(uid);
    expect(await waitUntil(async () => (await blobsOf(id)) === 0, { timeoutMs: 10_000 })).toBe(
      true,
    );
    expect(await stateOfTask(api, uid)).toMatchObject({ state: 'FINISHED' });
    expect((await unused(await versionsOf(id))).length).toBe(2);
    const bytes = await client.getTask(uid);
    expect(bytes.state).toBe('finished');
  });
});

describe('the files of a version', () => {
  it('go when a next one is there and no task needs them, bytes and row', async () => {
    await client.putModel(register('a:1', files(`${id} 1`)));
    const [{ blob = '' } = {}] = await api.database.query<{ blob: string }>(
      'SELECT files_blob_id AS blob FROM model_versions WHERE human_readable_id = $1',
      [id],
    );
    expect(await bytesOf(blob)).toEqual(files(`${id} 1`));
    await sweepsPass();
    expect(await bytesOf(blob)).toBeDefined();
    await client.putModel(register('a:2', files(`${id} 2`)));
    expect(
      await waitUntil(async () => (await bytesOf(blob)) === undefined, { timeoutMs: 10_000 }),
    ).toBe(true);
    const row = async () => api.database.query('SELECT id FROM blobs WHERE id = $1', [blob]);
    expect(await waitUntil(async () => (await row()).length === 0, { timeoutMs: 5_000 })).toBe(
      true,
    );
    expect(await blobsOf(id)).toBe(1);
    expect(await client.getModel(id)).toMatchObject({ version: 2, model_available: true });
  });
});

describe('what a consumer asks of its volumes', () => {
  it('is answered with the versions that are of no use, and those that nobody knows', async () => {
    await client.putModel(register('a:1', files('1')));
    const uid = await post();
    await client.putModel(register('a:2', files('2')));
    const [first = '', second = ''] = await versionsOf(id);
    const unknown = '00000000-0000-4000-8000-000000000000';
    expect(await unused([first, second, unknown])).toEqual([unknown]);
    await claim(uid);
    await settle(uid);
    expect((await unused([first, second, unknown])).sort()).toEqual([first, unknown].sort());
    expect(await unused([])).toEqual([]);
  });

  it.each([
    ['no ids', {}],
    ['ids that are none', { model_version_ids: ['version-1'] }],
    ['a number', { model_version_ids: [1] }],
    ['too many', { model_version_ids: Array(1_001).fill('0'.repeat(8)) }],
    ['more', { model_version_ids: [], also: 1 }],
  ])('is refused with %s', async (_what, body) => {
    const answer = await api.call(
      '/internal/consumers/c1/model-versions/unused',
      {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      },
      api.consumer('c1').token,
    );
    expect(answer.status).toBe(422);
  });

  it('is for that consumer alone', async () => {
    for (const [token, status] of [
      [api.consumer('c2').token, 403],
      [api.operatorToken, 403],
      ['wrong', 401],
    ] as const) {
      const answer = await api.call(
        '/internal/consumers/c1/model-versions/unused',
        { method: 'POST' },
        token,
      );
      expect(answer.status).toBe(status);
    }
  });
});

const post = () => client.postTask({ human_readable_id: id, zip: zipOf({ 'input.txt': 'hello' }) });

async function claim(uid: string): Promise<ClaimAnswer> {
  const consumer = api.consumer('c1');
  await consumer.register({ slots: 1000 });
  const queued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
  expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
  const answer = await consumer.claim(uid);
  expect(answer.outcome).toBe('won');
  return answer;
}

async function modelFilesOf(uid: string): Promise<Buffer> {
  const answer = await api.consumer('c1').fetch(uid, 'model-files');
  expect(answer.status).toBe(200);
  return Buffer.from(await answer.arrayBuffer());
}

async function settle(...uids: string[]): Promise<void> {
  for (const uid of uids) {
    await api.consumer('c1').finish(uid, zipOf({ 'output.txt': 'done' }));
  }
}

async function unused(ids: readonly string[]): Promise<string[]> {
  const answer = await api.call(
    '/internal/consumers/c1/model-versions/unused',
    {
      method: 'POST',
      body: JSON.stringify({ model_version_ids: ids }),
      headers: { 'content-type': 'application/json' },
    },
    api.consumer('c1').token,
  );
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { unused: string[] }).unused;
}

async function versionsOf(name: string): Promise<string[]> {
  const rows = await api.database.query<{ id: string }>(
    'SELECT id FROM model_versions WHERE human_readable_id = $1 ORDER BY number',
    [name],
  );
  return rows.map((row) => row.id);
}

async function blobsOf(name: string): Promise<number> {
  const rows = await api.database.query(
    'SELECT files_blob_id FROM model_versions WHERE human_readable_id = $1 AND files_blob_id IS NOT NULL',
    [name],
  );
  return rows.length;
}

/** A sweep that began after this was called has ended. */
async function sweepsPass(): Promise<void> {
  const other = `bait ${id}`;
  for (let round = 0; round < 2; round += 1) {
    await client.putModel({
      human_readable_id: other,
      container_tag: `a:${round}`,
      zip: files('x'),
    });
    await client.deleteModel(other);
    expect(await waitUntil(async () => (await blobsOf(other)) === 0, { timeoutMs: 10_000 })).toBe(
      true,
    );
  }
}

async function bytesOf(blobId: string): Promise<Buffer | undefined> {
  const { STORAGE_URL } = api.config;
  const path = join(STORAGE_URL, 'blobs', blobId.slice(0, 2), blobId);
  return readFile(path).catch(() => undefined);
}

/** A zip whose second half comes with `finish`. */
function openSlowly(zip: Buffer) {
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const halves = async function* () {
    yield zip.subarray(0, 20);
    await finished;
    yield zip.subarray(20);
  };
  const isReceived = async () => {
    const rows = await api.database.query(`SELECT id FROM blobs WHERE state = 'pending'`);
    return rows.length > 0;
  };
  return {
    stream: Readable.from(halves(), { objectMode: false }),
    begun: async () => expect(await waitUntil(isReceived, { timeoutMs: 5_000 })).toBe(true),
    finish,
  };
}
