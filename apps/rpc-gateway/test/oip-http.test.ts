import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import {
  callerHeader,
  oipLengthHeader,
  writeCaller,
  type ModelContract,
} from '@inference-server/contracts';
import { modelOf, tokens } from './private-api.js';
import { echo, readyAt, startReplica, startScene, soon } from './scene.js';

const fields: ModelContract['inputs'] = [
  { name: 'n', dtype: 'DT_INT64', shape: [-1, 2] },
  { name: 't', dtype: 'DT_STRING', shape: [] },
];
const contract: ModelContract = { signature_name: 'predict', inputs: fields, outputs: fields };
const model = modelOf(1, { contract });
const caller = {
  owner: 'key:a',
  role: 'submit',
  credential: 'key:a',
  address: '10.0.0.1',
} as const;
const headers = {
  authorization: `Bearer ${tokens.relay}`,
  [callerHeader]: writeCaller(caller),
};

interface Asking {
  path?: string;
  with?: Record<string, string>;
  options?: Parameters<typeof startScene>[0];
  /** The code and words with which the model answers. */
  fails?: [code: status, details: string];
  models?: (typeof model)[];
}

async function scene({ options = {}, fails, models = [model] }: Asking = {}) {
  const { api, httpUrl } = await startScene(options);
  const replica = await startReplica((call, done) => {
    if (fails === undefined) echo(call, done);
    else done({ code: fails[0], details: fails[1] });
  });
  api.tell({ models, replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  return { api, httpUrl };
}

async function get(url: string) {
  const answer = await fetch(url, { headers });
  return [answer.status, answer.headers.get('content-type'), await answer.json()];
}

async function infer(
  body: object | string | Buffer<ArrayBuffer> | null,
  how: Asking = {},
): Promise<{ status: number; headers: Headers; bytes: Buffer }> {
  const { httpUrl } = await scene(how);
  const isText = typeof body === 'string' || body === null || Buffer.isBuffer(body);
  const answer = await fetch(httpUrl + (how.path ?? '/v2/models/echo/infer'), {
    method: 'POST',
    headers: { ...headers, ...how.with },
    body: isText ? body : JSON.stringify(body),
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, headers: answer.headers, bytes };
}

const input = (name: string, datatype: string, shape: number[], data?: unknown) => ({
  ...{ name, datatype, shape },
  ...(data !== undefined && { data }),
});
const n = input('n', 'INT64', [2, 2], [1, 2, 3, 4]);
const t = input('t', 'BYTES', [1], ['für']);
const good = { id: 'a1', inputs: [n, t] };
const json = 'application/json; charset=utf-8';

/** A body with bytes behind its JSON. */
function binary(document: object, ...pieces: Buffer[]) {
  const head = Buffer.from(JSON.stringify(document));
  return {
    body: Buffer.concat([head, ...pieces]),
    with: { [oipLengthHeader]: String(head.length), 'content-type': 'application/octet-stream' },
  };
}
const sized = (one: object, size: unknown) => ({
  ...one,
  data: undefined,
  parameters: { binary_data_size: size },
});
const longs = Buffer.from(BigInt64Array.of(1n, -2n, 3n, 2n ** 62n).buffer);
const text = Buffer.from('04000000\u0000'.slice(0, 8) + Buffer.from('für').toString('hex'), 'hex');

describe('inference', () => {
  test('with JSON', async () => {
    const answer = await infer(good);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, json]);
    expect(JSON.parse(answer.bytes.toString())).toEqual({
      ...{ model_name: 'echo', model_version: '1', id: 'a1' },
      outputs: [n, { ...t, shape: [] }],
    });
  });

  test.each(['', 'application/json', 'application/x-www-form-urlencoded', 'a/b; c="d"'])(
    'whatever the content type says: %j',
    async (type) => {
      const body = Buffer.from(JSON.stringify(good));
      const answer = await infer(body, type === '' ? {} : { with: { 'content-type': type } });
      expect(answer.status).toBe(200);
    },
  );

  test('with bytes behind the JSON, both ways', async () => {
    const asked = binary(
      {
        inputs: [sized(n, longs.length), sized(t, text.length)],
        parameters: { binary_data_output: true },
        outputs: [{ name: 't' }, { name: 'n', parameters: { binary_data: true } }],
      },
      ...[longs, text],
    );
    const { headers: got, bytes } = await infer(asked.body, asked);
    expect(got.get('content-type')).toBe('application/octet-stream');
    const length = Number(got.get(oipLengthHeader));
    expect(JSON.parse(bytes.toString('utf8', 0, length))).toMatchObject({
      outputs: [
        { name: 't', parameters: { binary_data_size: text.length } },
        { name: 'n', shape: [2, 2], parameters: { binary_data_size: longs.length } },
      ],
    });
    expect(bytes.subarray(length)).toEqual(Buffer.concat([text, longs]));
  });

  test('with bytes that are more than JSON may be', async () => {
    const many = Buffer.alloc(16 * 40_000, 1);
    const inputs = [sized(input('n', 'INT64', [40_000, 2]), many.length), t];
    const asked = binary({ inputs, outputs: [{ name: 't' }] }, many);
    const options = { maxJsonBytes: 10_000 };
    expect((await infer(asked.body, { ...asked, options })).status).toBe(200);
    expect((await infer(Buffer.alloc(10_001, 32), { options })).status).toBe(413);
    const blank = { [oipLengthHeader]: '20000' };
    const whole = await infer(Buffer.alloc(20_000, 32), { options, with: blank });
    expect(whole.status).toBe(413);
  });

  test('of a version, and of one that is not there', async () => {
    const path = (version: string) => ({ path: `/v2/models/echo/versions/${version}/infer` });
    expect((await infer(good, path('1'))).status).toBe(200);
    expect((await infer(good, path('2'))).status).toBe(404);
    expect((await infer(good, path('v1'))).status).toBe(400);
  });

  const huge = Number.MAX_SAFE_INTEGER;
  const twice = 2 * JSON.stringify(good).length;
  /** Of fewer bytes than a quarter of its tensors. */
  const wide = { inputs: [input('n', 'INT64', [200, 2], new Array<number>(400).fill(1)), t] };
  const withN = (one: object) => ({ inputs: [one, t] });
  const cut = binary(withN(sized(n, 40)), longs);
  const tooMany = binary(withN(sized(n, 24)), longs);
  test.each<[string, number, string, Parameters<typeof infer>]>([
    ['no JSON', 400, 'The body is no JSON.', ['{"inputs": ']],
    ['NaN', 400, 'The body is no JSON.', ['{"inputs": [{"data": [NaN]}]}']],
    ['nothing', 400, 'The body is no JSON.', [null]],
    ['no document', 400, 'The request is invalid', ['5']],
    ['a missing input', 400, 'The input "t" is missing.', [{ inputs: [n] }]],
    ['an input twice', 400, 'stands twice', [{ inputs: [n, n, t] }]],
    ['another input', 400, 'does not have', [{ inputs: [n, t, { ...t, name: 'secret' }] }]],
    ['another datatype', 400, 'must be INT64', [withN({ ...n, datatype: 'INT32' })]],
    ['an unknown datatype', 400, 'must be INT64', [withN({ ...n, datatype: 'secret' })]],
    ['another shape', 400, 'a list of 6', [withN({ ...n, shape: [3, 2] })]],
    ['a shape that the model has not', 400, '"n"', [withN({ ...n, shape: [4, 1] })]],
    ['a huge shape', 400, 'a list of', [withN({ ...n, shape: [huge, huge] })]],
    ['no size at all', 400, 'shape', [withN({ ...n, shape: [1e300] })]],
    ['another value', 400, '"n"[3] must be', [withN({ ...n, data: [1, 2, 3, 'secret'] })]],
    ['bytes that are cut', 400, 'not as many', [cut.body, cut]],
    ['too many bytes', 400, 'not as many', [tooMany.body, tooMany]],
    [
      'a length that is none',
      400,
      'must be a integer',
      [good, { with: { [oipLengthHeader]: 'secret' } }],
    ],
    ['a length beyond', 400, 'is shorter', [good, { with: { [oipLengthHeader]: '5000' } }]],
    ['an output twice', 400, 'twice', [{ ...good, outputs: [{ name: 'n' }, { name: 'n' }] }]],
    ['another output', 400, 'does not have', [{ ...good, outputs: [{ name: 'secret' }] }]],
    [
      'shared memory',
      400,
      '"shared_memory_region"',
      [withN({ ...n, parameters: { shared_memory_region: 'secret' } })],
    ],
    ['another model', 404, 'no model of', [good, { path: '/v2/models/b/infer' }]],
    ['no name of a model', 400, 'human_readable_id', [good, { path: '/v2/models/%21/infer' }]],
    ['a parameter', 400, 'is not a parameter', [good, { path: '/v2/models/echo/infer?a=1' }]],
    ['no relay', 401, 'for public-api alone', [good, { with: { authorization: 'Bearer secret' } }]],
    [
      'a model that fails',
      502,
      'INTERNAL: not today',
      [good, { fails: [status.INTERNAL, 'not today'] }],
    ],
    [
      'a model that rejects',
      400,
      'too dark',
      [good, { fails: [status.INVALID_ARGUMENT, 'too dark'] }],
    ],
    ['a body too large to hold', 413, 'too large', [good, { options: { maxQueuedBytes: twice } }]],
    ['tensors too large to hold', 413, 'too large', [wide, { options: { maxQueuedBytes: 5_000 } }]],
    [
      'an answer too large to hold',
      502,
      'larger than',
      [good, { options: { maxQueuedBytes: 700 } }],
    ],
  ])('%s: %i', async (_what, code, words, how) => {
    const { status: got, headers: type, bytes } = await infer(...how);
    // To the letter: one of its clients shows no other.
    expect([got, type.get('content-type')]).toEqual([code, 'application/json']);
    const problem = JSON.parse(bytes.toString()) as { error: string };
    expect(problem).toEqual({ error: expect.stringContaining(words) as string });
    expect(problem.error).not.toContain('secret');
  });

  test('in time or not at all', async () => {
    const { api, httpUrl } = await startScene({ maxCallMs: 300 });
    api.tell({ models: [model] });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const url = `${httpUrl}/v2/models/echo/infer`;
    const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(good) });
    expect([answer.status, await answer.json()]).toEqual([
      504,
      { error: 'The call was not answered in time.' },
    ]);
  });
});

describe('what is told', () => {
  test('of the server', async () => {
    const { httpUrl } = await scene();
    const server = {
      name: 'InferenceServer',
      version: '1.0.0',
      extensions: ['binary_tensor_data'],
    };
    expect(await get(`${httpUrl}/v2`)).toEqual([200, json, server]);
    expect(await get(`${httpUrl}/v2/`)).toEqual([200, json, server]);
    const nowhere = { error: 'There is nothing at this address.' };
    expect(await get(`${httpUrl}/v2/repository/index`)).toEqual([404, 'application/json', nowhere]);
  });

  test('of models', async () => {
    const next = modelOf(2, { contract });
    const former = { ...model, is_current: false };
    const { httpUrl } = await scene({ models: [former, next] });
    const metadata = {
      name: 'echo',
      versions: ['2', '1'],
      platform: 'inferenceserver_runtime',
      inputs: [input('n', 'INT64', [-1, 2]), input('t', 'BYTES', [])],
      outputs: [input('n', 'INT64', [-1, 2]), input('t', 'BYTES', [])],
    };
    for (const path of ['echo', 'echo/versions/2', 'echo/versions/1']) {
      expect(await get(`${httpUrl}/v2/models/${path}`)).toEqual([200, json, metadata]);
      const ready = { name: 'echo', ready: true };
      expect(await get(`${httpUrl}/v2/models/${path}/ready`)).toEqual([200, json, ready]);
    }
    for (const path of ['b', 'echo/versions/3', 'b/ready', 'echo/versions/3/ready']) {
      expect(await get(`${httpUrl}/v2/models/${path}`)).toEqual([
        404,
        'application/json',
        { error: expect.any(String) as string },
      ]);
    }
  });

  test('of a model that cannot be started', async () => {
    const { api, httpUrl } = await scene();
    const other = modelOf(7, { human_readable_id: 'other' });
    const id = other.model_version_id;
    api.tell({ models: [other], trouble: [{ model_version_id: id, detail: 'no image' }] });
    await expect
      .poll(() => get(`${httpUrl}/v2/models/other/ready`), soon)
      .toEqual([503, 'application/json', { error: 'The model has no replica yet: no image' }]);
  });

  test('of tensors for which the protocol has no type', async () => {
    const odd: ModelContract = {
      ...contract,
      inputs: [{ name: 'c', dtype: 'DT_COMPLEX64' }],
    };
    const { httpUrl } = await scene({ models: [modelOf(1, { contract: odd })] });
    expect(await get(`${httpUrl}/v2/models/echo`)).toMatchObject([
      400,
      'application/json',
      { error: expect.stringContaining('"c" is of the type DT_COMPLEX64') as string },
    ]);
  });
});
