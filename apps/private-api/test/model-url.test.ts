import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Model, ModelContract, Problem } from '@inference-server/contracts';
import { encodeModelContract } from '@inference-server/protos';
import { openFilesBelow, testFolder } from '@inference-server/testing';
import {
  actingFor,
  formOf,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { publicApiToken } from '@inference-server/service-kit';
import { startTlsServer } from './tls-server.js';

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_FLOAT' }],
  outputs: [],
};
const json = JSON.stringify(contract);
const maxBytes = 200_000;

let api: RunningPrivateApi;
let server: Awaited<ReturnType<typeof startTlsServer>>;
let folder: string;
let asked = 0;
/** How the server goes on after the first bytes; undefined: it ends. */
let hold: Promise<void> | undefined;
const zip = zipOf({ 'weights.bin': 'w' });

beforeAll(async () => {
  folder = await testFolder();
  server = await startTlsServer((_request, response) => {
    asked += 1;
    response.writeHead(200, { 'content-length': zip.length });
    response.write(zip.subarray(0, 10));
    void (hold ?? Promise.resolve()).then(() => response.end(zip.subarray(10)));
  });
  api = await runPrivateApi({
    MODEL_SOURCE_DIR: folder,
    MODEL_SOURCE_HOSTS: server.host,
    MODEL_SOURCE_CA_FILE: server.caFile,
    MAX_UPLOAD_BYTES: maxBytes,
    MAX_STORED_BYTES_PER_OWNER: 150_000,
  });
  await writeFile(join(folder, 'model.zip'), zip);
  await writeFile(join(folder, 'no.zip'), 'text');
  await writeFile(join(folder, 'large.zip'), Buffer.alloc(maxBytes + 1));
  const noise = randomBytes(160_000);
  await writeFile(join(folder, 'over-the-quota.zip'), zipOf({ a: noise as unknown as string }));
  const file = Buffer.from(encodeModelContract(contract, 'any'));
  const files = { 'contract.protobin': file as unknown as string, 'files/w': 'w' };
  await writeFile(join(folder, 'runtime.zip'), zipOf(files));
});
afterAll(async () => {
  await api.close();
  await server.close();
});

type Query = Record<string, string>;
const search = (query: Query) =>
  new URLSearchParams({ container_tag: 'busybox:1', ...query }).toString();
const post = (query: Query, init: RequestInit = {}) =>
  api.call(`/api/models/?${search(query)}`, { method: 'POST', ...init });

describe('a model with a model_url', () => {
  it.each(['file:', 'https:'])('has the files that %s leads to, fetched once', async (scheme) => {
    const id = `from ${scheme}`;
    const model_url = scheme === 'file:' ? 'file:model.zip' : `https://${server.host}/a.zip`;
    asked = 0;
    const answer = await post({ human_readable_id: id, model_url });
    expect((await answer.json()) as Model).toMatchObject({ kind: 'batch', model_available: true });
    const [row] = await api.database.query<{ sha256: string; bytes: number; state: string }>(
      `SELECT b.sha256, b.bytes::int, b.state::text FROM blobs b JOIN model_versions v ON v.files_blob_id = b.id
        WHERE v.human_readable_id = $1`,
      [id],
    );
    expect(row).toMatchObject({ bytes: zip.length, state: 'stored' });
    expect(asked).toBe(scheme === 'https:' ? 1 : 0);

    const before = await api.stored();
    const path = `/api/models/${encodeURIComponent(id)}?${search({ model_url })}`;
    const again = (await (await api.call(path, { method: 'PUT' })).json()) as Model;
    expect(again.version).toBe(1);
    expect(await api.stored()).toEqual(before);
    expect(await openFilesBelow(folder)).toEqual([]);
  });

  it('is a runtime model by its zip, or by what it says', async () => {
    const byZip = await post({ human_readable_id: 'by zip', model_url: 'file:runtime.zip' });
    expect((await byZip.json()) as Model).toMatchObject({ kind: 'runtime', contract });
    const said = { human_readable_id: 'said', kind: 'runtime', model_url: 'file:model.zip' };
    const answer = await post({ ...said, contract: json, model_available: 'true' });
    expect((await answer.json()) as Model).toMatchObject({
      kind: 'runtime',
      model_available: true,
    });
    const form = new FormData();
    form.append('contract', json);
    const inForm = await post({ ...said, human_readable_id: 'in form' }, { body: form });
    expect((await inForm.json()) as Model).toMatchObject({
      kind: 'runtime',
      model_available: true,
    });
  });

  it.each<[string, Query, number, string, RequestInit]>([
    [
      'beside zip_file',
      { model_url: 'file:model.zip' },
      422,
      'VALIDATION_FAILED',
      { body: formOf(['zip_file', zip]) },
    ],
    [
      'beside zip_file that is announced',
      { model_url: 'file:model.zip', model_available: 'true' },
      422,
      'VALIDATION_FAILED',
      { body: formOf(['zip_file', zip]) },
    ],
    ['of nothing', { model_url: 'file:absent.zip' }, 422, 'VALIDATION_FAILED', {}],
    ['outside', { model_url: 'file:///etc/passwd' }, 422, 'VALIDATION_FAILED', {}],
    ['of another host', { model_url: 'https://example.org/a.zip' }, 422, 'VALIDATION_FAILED', {}],
    [
      'of a store that is not set up',
      { model_url: 's3://models/a.zip' },
      422,
      'VALIDATION_FAILED',
      {},
    ],
    ['that is too long', { model_url: `file:${'x'.repeat(2_000)}` }, 422, 'VALIDATION_FAILED', {}],
    ['to what is no zip', { model_url: 'file:no.zip' }, 422, 'ZIP_REFUSED', {}],
    ['to what is too large', { model_url: 'file:large.zip' }, 413, 'PAYLOAD_TOO_LARGE', {}],
    [
      'to a contract.protobin of a batch model',
      { model_url: 'file:runtime.zip', kind: 'batch' },
      422,
      'VALIDATION_FAILED',
      {},
    ],
    [
      'to a second contract',
      { model_url: 'file:runtime.zip', kind: 'runtime', contract: json },
      422,
      'VALIDATION_FAILED',
      {},
    ],
  ])('%s is refused, and leaves nothing', async (_what, query, status, code, init) => {
    const before = await api.stored();
    const answer = await post({ human_readable_id: 'refused', ...query }, init);
    const problem = (await answer.json()) as Problem;
    expect(problem).toMatchObject({ status, code });
    expect(problem.detail).not.toContain(query['model_url']);
    expect(await api.stored()).toEqual(before);
    expect(await openFilesBelow(folder)).toEqual([]);
  });

  it('counts towards what its owner may store', async () => {
    const before = await api.stored();
    const path = `/api/models/?${search({ human_readable_id: 'refused', model_url: 'file:over-the-quota.zip' })}`;
    const headers = actingFor('key:a', 'publish');
    const token = publicApiToken(api.operatorToken);
    const answer = await api.call(path, { method: 'POST', headers }, token);
    expect((await answer.json()) as Problem).toMatchObject({ status: 403, code: 'QUOTA_EXCEEDED' });
    expect(await api.stored()).toEqual(before);
  });

  it('is given up with its caller: nothing is left of it', async () => {
    const before = await api.stored();
    let release = (): void => undefined;
    hold = new Promise((resolve) => (release = resolve));
    const gone = new AbortController();
    const query = { human_readable_id: 'gone', model_url: `https://${server.host}/a.zip` };
    const posting = fetch(`${api.base}/api/models/?${search(query)}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.operatorToken}` },
      signal: gone.signal,
    }).catch(() => undefined);
    await expect.poll(async () => (await api.stored()).files).toBe(before.files + 1);
    gone.abort();
    await posting;
    await expect.poll(() => api.stored()).toEqual(before);
    release();
    hold = undefined;
  });
});
