import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimAnswer, UnusedModelVersions } from '@inference-server/contracts';
import { createClient, type Client } from '@inference-server/sdk';
import { waitUntil } from '@inference-server/testing';
import { files } from './model-files.js';
import { runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';
import { openSlowly } from './slow-zip.js';
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
  id = `model ${(count += 1)}`;
});

const register = (image: string, zip: Buffer<ArrayBuffer>) => ({
  human_readable_id: id,
  container_tag: image,
  zip,
});

describe('a task', () => {
  it('has the version that was current when its post was complete', async () => {
    await client.putModel(register('a:1', files('1')));
    const before = await post();
    const zip = openSlowly(api, zipOf({ 'input.txt': 'hello' }));
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
    expect(await blobsOf(id)).toHaveLength(2);
    expect(await unused(await versionsOf(id))).toEqual([]);
    if (at === 0) await claim(old);
    if (at === 0) await claim(uid);
    expect(await modelFilesOf(old)).toEqual(files(`${id} 1`));
    expect(await modelFilesOf(uid)).toEqual(files(`${id} 2`));
    await settle(old);
    await expectBlobs(id, 1);
    expect(await modelFilesOf(uid)).toEqual(files(`${id} 2`));
    await settle(uid);
    await expectBlobs(id, 0);
    expect(await stateOfTask(api, uid)).toMatchObject({ state: 'FINISHED' });
    expect((await unused(await versionsOf(id))).length).toBe(2);
    const bytes = await client.getTask(uid);
    expect(bytes.state).toBe('finished');
  });
});

describe('the files of a version', () => {
  it('go when a next one is there and no task needs them, bytes and row', async () => {
    await client.putModel(register('a:1', files(`${id} 1`)));
    const [blob = ''] = await blobsOf(id);
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
    expect(await blobsOf(id)).toHaveLength(1);
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
  const told = (await answer.json()) as UnusedModelVersions;
  const [installation] = await api.database.query('SELECT id FROM installations');
  expect(installation).toEqual({ id: told.installation_id });
  return told.unused;
}

async function versionsOf(name: string): Promise<string[]> {
  const rows = await api.database.query<{ id: string }>(
    'SELECT id FROM model_versions WHERE human_readable_id = $1 ORDER BY number',
    [name],
  );
  return rows.map((row) => row.id);
}

async function blobsOf(name: string): Promise<string[]> {
  const rows = await api.database.query<{ id: string }>(
    `SELECT files_blob_id AS id FROM model_versions
      WHERE human_readable_id = $1 AND files_blob_id IS NOT NULL`,
    [name],
  );
  return rows.map((row) => row.id);
}

async function expectBlobs(name: string, count: number): Promise<void> {
  const isSo = async () => (await blobsOf(name)).length === count;
  expect(await waitUntil(isSo, { timeoutMs: 10_000 })).toBe(true);
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
    await expectBlobs(other, 0);
  }
}

async function bytesOf(blobId: string): Promise<Buffer | undefined> {
  const { STORAGE_URL } = api.config;
  const path = join(STORAGE_URL, 'blobs', blobId.slice(0, 2), blobId);
  return readFile(path).catch(() => undefined);
}
