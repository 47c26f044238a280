import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  usualRuntime,
  type Model,
  type ModelContract,
  type Problem,
} from '@inference-server/contracts';
import { encodeModelContract } from '@inference-server/protos';
import { plenty } from './capacities.js';
import { runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({ MAX_REPLICAS: 8, MAX_MIN_REPLICAS: 2 });
});
afterAll(() => api.close());

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_DOUBLE', shape: [-1, 4], profile: 'NUMERICAL' }],
  outputs: [{ name: 'y', dtype: 'DT_INT64', shape: [] }],
};
const json = JSON.stringify(contract);
const contractFile = Buffer.from(encodeModelContract(contract, 'any'));

type Query = Record<string, string>;
const usual: Query = { container_tag: 'busybox:1' };
const search = (query: Query) => new URLSearchParams({ ...usual, ...query }).toString();
const post = (query: Query, body?: FormData) =>
  api.call(`/api/models/?${search(query)}`, { method: 'POST', ...(body && { body }) });
const put = (id: string, query: Query, body?: FormData) =>
  api.call(`/api/models/${id}?${search(query)}`, { method: 'PUT', ...(body && { body }) });

const zipWith = (files: Record<string, string | Buffer>): Blob =>
  new Blob([zipOf(files as Record<string, string>)]);
/** A string is a field, anything else a file. */
function form(...parts: [name: string, content: string | Blob][]): FormData {
  const made = new FormData();
  for (const [name, content] of parts) {
    if (typeof content === 'string') made.append(name, content);
    else made.append(name, content, 'file');
  }
  return made;
}
const ownContract = (): Blob => zipWith({ 'contract.protobin': contractFile, 'files/w.bin': 'w' });

async function modelIn(response: Response): Promise<Model> {
  expect([response.status, await response.clone().text()]).toMatchObject([200, expect.anything()]);
  return (await response.json()) as Model;
}

describe('a runtime model', () => {
  it('is registered with a contract in the query, and answers with it', async () => {
    const settings = {
      ...{ min_replicas: 1, max_replicas: 3, idle_timeout_s: 60 },
      ...{ target_in_flight: 2, max_batch_size: 16, max_delay_ms: 0 },
    };
    const said = Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [name, String(value)]),
    );
    const id = 'in the query';
    const made = await modelIn(
      await post({ human_readable_id: id, kind: 'runtime', contract: json, ...said }),
    );
    expect(made).toMatchObject({ kind: 'runtime', contract, model_available: false, ...settings });
    const shown = (await (await api.call(`/api/models/${encodeURIComponent(id)}`)).json()) as Model;
    expect(shown).toEqual({ ...made, warnings: undefined });
  });

  it('has the usual settings where nothing is said', async () => {
    const query = { human_readable_id: 'usual', kind: 'runtime', contract: json };
    expect(await modelIn(await post(query))).toMatchObject({ version: 1, ...usualRuntime });
  });

  it.each<[string, FormData, boolean]>([
    [
      'a field of the form, before the zip',
      form(['contract', json], ['zip_file', zipWith({ a: 'b' })]),
      true,
    ],
    [
      'a file of the form, after the zip',
      form(['zip_file', zipWith({ a: 'b' })], ['contract', new Blob([json])]),
      true,
    ],
    ['a field of a form without a zip', form(['contract', json]), false],
  ])('has its contract in %s', async (what, body, hasFiles) => {
    const answer = await post({ human_readable_id: what.replace(',', ''), kind: 'runtime' }, body);
    expect(await modelIn(answer)).toMatchObject({ contract, model_available: hasFiles });
  });

  it('has a contract of some KiB in the query, and one of 64 KiB in the form', async () => {
    const large = (fields: number) =>
      JSON.stringify({
        ...contract,
        inputs: Array.from({ length: fields }, (_each, at) => ({
          ...{ name: `the_input_of_number_${at}`, dtype: 'DT_DOUBLE', shape: [-1, at] },
        })),
      });
    const inQuery = large(128);
    expect(inQuery.length).toBeGreaterThan(8_000);
    const query = { human_readable_id: 'large query', kind: 'runtime' };
    expect((await post({ ...query, contract: inQuery })).status).toBe(200);
    const inForm = large(900);
    expect(inForm.length).toBeGreaterThan(55_000);
    const answer = await post(
      { ...query, human_readable_id: 'large form' },
      form(['contract', inForm]),
    );
    expect((await modelIn(answer)).contract?.inputs).toHaveLength(900);
  });

  it.each([{}, { model_available: 'true' }, { kind: 'runtime' }])(
    'is what a zip with a contract.protobin makes (%j)',
    async (query) => {
      const id = `by its zip ${Object.keys(query).join('')}`.trim();
      const body = form(['zip_file', ownContract()]);
      const made = await modelIn(await post({ human_readable_id: id, ...query }, body));
      expect(made).toMatchObject({ kind: 'runtime', contract, model_available: true });
      const [row] = await api.database.query<{ has_contract_file: boolean }>(
        `SELECT has_contract_file FROM model_versions WHERE human_readable_id = $1`,
        [id],
      );
      expect(row?.has_contract_file).toBe(true);
    },
  );

  it('may have a name that looks like half a character', async () => {
    const odd = { ...contract, signature_name: 'a\\ud800' };
    const query = { human_readable_id: 'odd', kind: 'runtime', contract: JSON.stringify(odd) };
    expect((await modelIn(await post(query))).contract).toEqual(odd);
  });

  it('is none for a contract.protobin in a folder', async () => {
    const body = form(['zip_file', zipWith({ 'a/contract.protobin': contractFile })]);
    const query = { human_readable_id: 'deep', model_available: 'true' };
    expect(await modelIn(await post(query, body))).toMatchObject({ kind: 'batch', contract: null });
  });

  it('runs no tasks, also when it becomes one while the input comes', async () => {
    const query = { human_readable_id: 'no-tasks', kind: 'runtime', contract: json };
    expect((await post(query)).status).toBe(200);
    const refusal = await api.call('/api/tasks/?human_readable_id=no-tasks', {
      method: 'POST',
      body: zipOf({ a: 'b' }),
      headers: { 'content-type': 'application/zip' },
    });
    const problem = (await refusal.json()) as Problem;
    expect(problem).toMatchObject({ status: 422, code: 'VALIDATION_FAILED' });
    expect(problem.detail).toContain('/predict');

    await api.postModel('turns');
    let send = (): void => undefined;
    const rest = new Promise<void>((resolve) => (send = resolve));
    const zip = zipOf({ a: 'b' });
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(zip.subarray(0, 10));
        await rest;
        controller.enqueue(zip.subarray(10));
        controller.close();
      },
    });
    const late = api.call('/api/tasks/?human_readable_id=turns', {
      ...{ method: 'POST', body, duplex: 'half' },
      headers: { 'content-type': 'application/zip' },
    });
    const under = `SELECT id FROM blobs WHERE state = 'pending'`;
    await expect.poll(async () => (await api.database.query(under)).length).toBe(1);
    expect((await put('turns', { kind: 'runtime', contract: json })).status).toBe(200);
    send();
    expect((await (await late).json()) as Problem).toMatchObject({ code: 'VALIDATION_FAILED' });
    await expect.poll(async () => (await api.database.query(under)).length).toBe(0);
  });

  it('is warned of where nobody could host it', async () => {
    await api.consumer('c1').register({ ...plenty, slots: 1 });
    const query = { human_readable_id: 'too large', kind: 'runtime', contract: json };
    const { warnings } = await modelIn(await post({ ...query, memory_mib: '2000000000' }));
    expect(warnings?.[0]).toMatch(/^No consumer that is registered now could host it/);
  });
});

describe('a next version of a runtime model', () => {
  it('comes with another contract, other settings or another kind, and with nothing else', async () => {
    const version = async (query: Query, body?: FormData) =>
      (await modelIn(await put('steps', query, body))).version;
    const runtime = { kind: 'runtime', contract: json };
    expect(await version({})).toBe(1);
    expect(await version(runtime)).toBe(2);
    const { signature_name, inputs, outputs } = contract;
    const turned = JSON.stringify({ outputs, inputs, signature_name }, undefined, 2);
    expect(await version({ kind: 'runtime', contract: turned })).toBe(2);
    expect(await version({ ...runtime, max_replicas: '1', description: 'new' })).toBe(2);
    expect(await version({ ...runtime, max_replicas: '2' })).toBe(3);
    const other = JSON.stringify({ ...contract, signature_name: 'other' });
    expect(await version({ kind: 'runtime', contract: other, max_replicas: '2' })).toBe(4);
    const zip = ownContract();
    expect(await version({}, form(['zip_file', zip]))).toBe(5);
    expect(await version({ kind: 'runtime' }, form(['zip_file', zip]))).toBe(5);
    expect(await version({})).toBe(6);
  });
});

const id = { human_readable_id: 'refused' };
const runtime = { ...id, kind: 'runtime', contract: json };
const withZip = form(['zip_file', zipWith({ a: 'b' })]);

describe('a registration', () => {
  it.each<[string, Query, FormData | undefined, string]>([
    ['of an unknown kind', { ...id, kind: 'stream' }, undefined, 'kind'],
    ['of a runtime model without a contract', { ...id, kind: 'runtime' }, undefined, 'contract'],
    ['of a runtime model whose zip has none', { ...id, kind: 'runtime' }, withZip, 'contract'],
    ['of a contract that is no JSON', { ...runtime, contract: '{"a' }, undefined, 'contract'],
    ['of a contract that is none', { ...runtime, contract: '{}' }, undefined, 'contract'],
    [
      'of a contract with half a character',
      { ...runtime, contract: json.replace('predict', '\\ud800') },
      undefined,
      'contract',
    ],
    [
      'of a contract with a NUL',
      { ...runtime, contract: json.replace('predict', '\\u0000') },
      undefined,
      'contract',
    ],
    [
      'of a contract over 64 KiB',
      { ...id, kind: 'runtime' },
      form(['contract', json + ' '.repeat(65_536)]),
      'contract',
    ],
    ['of a contract without a kind', { ...id, contract: json }, undefined, 'contract'],
    ['of a contract in the form without a kind', id, form(['contract', json]), 'contract'],
    ['of a contract of a batch model', { ...runtime, kind: 'batch' }, undefined, 'contract'],
    ['of replicas without a kind', { ...id, max_replicas: '1' }, undefined, 'max_replicas'],
    [
      'of replicas of a batch model',
      { ...id, kind: 'batch', min_replicas: '0' },
      undefined,
      'min_replicas',
    ],
    [
      'of more replicas at least than at most',
      { ...runtime, min_replicas: '2' },
      undefined,
      'min_replicas',
    ],
    [
      'of more replicas than are allowed',
      { ...runtime, max_replicas: '9' },
      undefined,
      'max_replicas',
    ],
    [
      'of more replicas kept than are allowed',
      { ...runtime, min_replicas: '3', max_replicas: '8' },
      undefined,
      'min_replicas',
    ],
    [
      'of calls that wait too long',
      { ...runtime, max_delay_ms: '1001' },
      undefined,
      'max_delay_ms',
    ],
    ['of no replicas at all', { ...runtime, max_replicas: '0' }, undefined, 'max_replicas'],
    ['of the time of a run', { ...runtime, timeout_s: '1' }, undefined, 'timeout_s'],
    ['of more tries', { ...runtime, retries: '0' }, undefined, 'retries'],
    ['of how long outputs are kept', { ...runtime, retention_s: '1' }, undefined, 'retention_s'],
    [
      'of how long inputs are kept',
      { ...runtime, input_retention_s: '1' },
      undefined,
      'input_retention_s',
    ],
    [
      'of retries, by a zip of a runtime model',
      { ...id, retries: '1' },
      form(['zip_file', ownContract()]),
      'retries',
    ],
    [
      'of a batch model with a contract.protobin',
      { ...id, kind: 'batch', model_available: 'true' },
      form(['zip_file', ownContract()]),
      'kind',
    ],
    ['of two contracts, one in the zip', runtime, form(['zip_file', ownContract()]), 'contract'],
    [
      'of two contracts, one in the zip, one in the form',
      id,
      form(['zip_file', ownContract()], ['contract', json]),
      'contract',
    ],
    [
      'of a contract.protobin that is none',
      id,
      form(['zip_file', zipWith({ 'contract.protobin': 'text' })]),
      'contract',
    ],
    [
      'of a contract.protobin over 1 MiB',
      id,
      form(['zip_file', zipWith({ 'contract.protobin': Buffer.alloc(1024 ** 2 + 1) })]),
      'zip_file',
    ],
    ['of a zip that no kind and no contract announces', id, withZip, 'model_available'],
    [
      'of files of a runtime model that do not come',
      { ...runtime, model_available: 'true' },
      undefined,
      'zip_file',
    ],
  ])('%s is refused, and stores nothing', async (_what, query, body, parameter) => {
    const before = await api.stored();
    const problem = (await (await post(query, body)).json()) as Problem;
    expect([problem.status, problem.code, problem.parameter]).toEqual([
      ...[422, 'VALIDATION_FAILED', parameter],
    ]);
    expect(await api.stored()).toEqual(before);
  });

  it.each<[string, Query, FormData]>([
    ['in query and form', runtime, form(['contract', json])],
    [
      'twice in the form',
      { ...id, kind: 'runtime' },
      form(['contract', json], ['zip_file', zipWith({ a: 'b' })], ['contract', json]),
    ],
  ])('with a contract %s is refused', async (_what, query, body) => {
    const before = await api.stored();
    const problem = (await (await post(query, body)).json()) as Problem;
    expect(problem).toMatchObject({
      status: 400,
      code: 'DUPLICATE_PARAMETER',
      parameter: 'contract',
    });
    expect(await api.stored()).toEqual(before);
  });

  it('with a contract that is no text is refused', async () => {
    const body = form(['contract', new Blob([Buffer.from([0x7b, 0xff, 0x7d])])]);
    const problem = (await (await post({ ...id, kind: 'runtime' }, body)).json()) as Problem;
    expect(problem).toMatchObject({ status: 422, code: 'INVALID_FORM', parameter: 'contract' });
  });

  it('with a part contract is refused where there is none: of a task', async () => {
    await api.postModel('batch');
    const answer = await api.call('/api/tasks/?human_readable_id=batch', {
      method: 'POST',
      body: form(['zip_file', zipWith({ a: 'b' })], ['contract', json]),
    });
    expect((await answer.json()) as Problem).toMatchObject({ status: 422, code: 'INVALID_FORM' });
  });
});
