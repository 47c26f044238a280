import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import {
  anonymousOwner,
  type ErrorCode,
  type ModelContract,
  type ModelField,
} from '@inference-server/contracts';
import {
  decodeInvocationResponse,
  encodeContent,
  encodeInvocationRequest,
  encodeOutputs,
  type InvocationResponse,
  type MetadataEntry,
} from '@inference-server/protos';
import { keyOf, modelOf } from './private-api.js';
import {
  clientOf,
  deferred,
  echo,
  readyAt,
  soon,
  startReplica,
  startScene,
  type Asked,
} from './scene.js';

const path = '/invocation.v1.Invocation/Invoke';
const key = keyOf('a');
const mib = 1024 ** 2;

const text = (name: string): ModelField => ({ name, dtype: 'DT_STRING', shape: [] });
const number = (name: string): ModelField => ({ name, dtype: 'DT_INT64', shape: [] });
const contractOf = (...fields: ModelField[]): ModelContract => ({
  ...{ signature_name: 'predict', inputs: fields, outputs: fields },
});
const image = modelOf(1, { human_readable_id: 'image', contract: contractOf(text('x')) });
const oneInt64 = Buffer.of(0x50, 1);
const entry = (key: string, value: string): MetadataEntry => ({ key, value });

interface Input {
  id?: number;
  content?: string | Buffer;
  metadata?: MetadataEntry[];
}

/** The gateway with models that answer what they are asked, and what invokes them. */
async function startInvoking({
  model = image,
  predict = echo,
  ...options
}: Partial<Parameters<typeof startScene>[0]> & {
  model?: typeof image;
  predict?: Parameters<typeof startReplica>[0];
} = {}) {
  const { api, address } = await startScene({ defaultInvocationModel: 'image', ...options });
  const replica = await startReplica(predict);
  api.callers.set(key, {});
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const { unary } = clientOf(address);
  const send = async (message: Buffer, asked?: Asked): Promise<InvocationResponse> =>
    decodeInvocationResponse(await unary(path, message, asked));
  const invoke = ({ id = 7, content = '', metadata = [] }: Input, asked?: Asked) =>
    send(
      Buffer.concat(encodeInvocationRequest({ id, content: Buffer.from(content), metadata })),
      asked,
    );
  return { api, replica, invoke, send };
}

const ok = { status: 'OK', message: '' };
const failed = (message: string): unknown => ({
  status: 'ERROR',
  message: expect.stringContaining(message) as string,
});

describe('what a model has answered', () => {
  test('is stored as its caller’s, to the byte, before OK is said', async () => {
    const { api, invoke } = await startInvoking();
    const metadata = [entry('a', '1'), entry('a', 'ä "')];
    expect(await invoke({ id: -3, content: 'Grüße\u0000"', metadata })).toEqual(ok);
    expect(api.invocations).toEqual([
      {
        caller: {
          ...{ owner: anonymousOwner, credential: anonymousOwner, role: 'submit' },
          address: '127.0.0.1',
        },
        head: {
          ...{ id: -3, metadata, output_metadata: [entry('x', 'Grüße\u0000"')] },
          human_readable_id: 'image',
        },
        content: Buffer.from('Grüße\u0000"'),
      },
    ]);
    expect(await invoke({ id: 8 }, { key })).toEqual(ok);
    expect(api.invocations[1]).toMatchObject({ caller: { owner: 'key:a', credential: 'key:a' } });
  });

  test('has an entry for each output, of inputs that the content has by name', async () => {
    const contract = contractOf(text('t'), number('n'), text('metadata'));
    const { api, invoke } = await startInvoking({ model: { ...image, contract } });
    const metadata = [entry('k', 'v')];
    const content = '{"t": "a", "n": 9007199254740993}';
    expect(await invoke({ content, metadata })).toEqual(ok);
    expect(api.invocations[0]?.head?.output_metadata).toEqual([
      ...[entry('t', 'a'), entry('n', '"9007199254740993"')],
      entry('metadata', JSON.stringify(metadata)),
    ]);
  });

  test('may be of the most content there is', async () => {
    const predict: Parameters<typeof startReplica>[0] = (_call, done) =>
      done(null, Buffer.alloc(0));
    const { api, invoke } = await startInvoking({ predict });
    const content = Buffer.alloc(64 * mib, 'base64+/');
    expect(await invoke({ content })).toEqual(ok);
    expect(api.invocations[0]?.content.equals(content)).toBe(true);
    expect(await invoke({ content: Buffer.alloc(64 * mib + 1, 'x') })).toEqual(
      failed('The content is larger than 67108864 bytes.'),
    );
    expect(api.invocations).toHaveLength(1);
  });
});

describe('the model', () => {
  test('is that of the metadata, or else the server’s, as it is at each call', async () => {
    const { api, replica, invoke } = await startInvoking();
    const asked = entry('model', 'other');
    expect(await invoke({ metadata: [asked] })).toEqual(failed('There is no model of this name.'));
    const other = modelOf(2, { human_readable_id: 'other', contract: contractOf(text('y')) });
    api.tell({
      models: [image, other],
      replicas: [image, other].flatMap((model) => readyAt(model, replica.address)),
    });
    expect(await invoke({ metadata: [asked] })).toEqual(ok);
    expect(await invoke({})).toEqual(ok);
    api.tell({ models: [other] });
    await expect.poll(() => invoke({}), soon).toEqual(failed('There is no model'));
    const names = api.invocations.map(({ head }) => head?.human_readable_id);
    expect(names).toEqual(['other', ...names.slice(1).map(() => 'image')]);
  });

  test('has to be named where the server has none', async () => {
    const { invoke } = await startInvoking({ defaultInvocationModel: undefined });
    expect(await invoke({})).toEqual(failed('DEFAULT_INVOCATION_MODEL'));
    expect(await invoke({ metadata: [entry('model', 'image')] })).toEqual(ok);
  });
});

describe('a call that fails is answered with ERROR, and nothing is stored:', () => {
  type Options = Parameters<typeof startInvoking>[0];
  const counts: Options = { model: { ...image, contract: contractOf(number('n')) } };
  const fails: Options = {
    predict: (_call, done) => done({ code: status.FAILED_PRECONDITION, details: 'not today' }),
  };
  const babbles: Options = { predict: (_call, done) => done(null, Buffer.from([255])) };
  // One value of int64_val, and a shape that says millions.
  const says: Options = {
    ...counts,
    predict: (_call, done) => {
      const ones = Buffer.concat([...encodeContent(9, [30_000_000], Buffer.alloc(0)), oneInt64]);
      done(null, Buffer.concat(encodeOutputs(new Map([['n', ones]]))));
    },
  };
  const isSilent: Options = { predict: () => undefined, maxCallMs: 500 };
  const isSmall: Options = { maxMessageBytes: 2 * mib, maxQueuedBytes: 4 * mib };

  test.each<[string, string, Options, Input | Buffer]>([
    ['no message', 'no valid protobuf', {}, Buffer.from([0x0a, 0xff])],
    ['no input', 'no model_input', {}, Buffer.alloc(0)],
    ['no text', 'no UTF-8', {}, { content: Buffer.from([0xff]) }],
    ['no JSON', 'The content is no JSON.', counts, { content: '{' }],
    [
      'JSON too large',
      'MAX_JSON_BYTES',
      { ...counts, maxJsonBytes: 10 },
      { content: '{"n": 12345678901}' },
    ],
    ['a missing input', '"n" is missing', counts, { content: '{}' }],
    ['a model that fails', 'The model answered FAILED_PRECONDITION: not today', fails, {}],
    ['an answer that is none', "The model's answer cannot be read", babbles, {}],
    ['outputs too large', 'cannot be stored', {}, { content: 'x'.repeat(mib + 1) }],
    ['an answer far too large', 'cannot be stored', {}, { content: 'x'.repeat(5 * mib) }],
    [
      'a few bytes that say millions of values',
      'more than 524288 values',
      says,
      { content: '{"n":1}' },
    ],
    ['no answer in time', 'not answered in time', isSilent, {}],
    ['no room', 'holds too many messages', isSmall, { content: 'x'.repeat(1.9 * mib) }],
  ])('%s', async (_what, message, options, input) => {
    const { api, invoke, send } = await startInvoking(options);
    const answer = await (Buffer.isBuffer(input) ? send(input) : invoke(input));
    expect(answer).toEqual(failed(message));
    expect(api.invocations).toEqual([]);
  });

  test.each<[number, ErrorCode, string]>([
    [403, 'QUOTA_EXCEEDED', 'so much is stored'],
    [507, 'STORAGE_FULL', 'so much is stored'],
    [500, 'INTERNAL', 'The server failed.'],
    [401, 'UNAUTHORIZED', 'The server failed.'],
    [403, 'FORBIDDEN', 'The server failed.'],
  ])('a store that answers %i %s', async (code, name, message) => {
    const { api, invoke } = await startInvoking();
    const problem = { type: 'about:blank', title: 'No', detail: 'so much is stored' };
    api.refusal = { ...problem, status: code, code: name };
    expect(await invoke({})).toEqual(failed(message));
    api.refusal = undefined;
    expect(await invoke({})).toEqual(ok);
  });

  test('a store that is away', async () => {
    const { api, invoke } = await startInvoking();
    api.goAway();
    expect(await invoke({})).toEqual(failed('The result cannot be stored at the moment.'));
    api.comeBack();
    expect(await invoke({})).toEqual(ok);
    expect(api.invocations).toHaveLength(1);
  });
});

describe('credentials that are not good are a status of gRPC:', () => {
  test.each<[string, Asked, string | undefined, number]>([
    ['none', {}, undefined, status.UNAUTHENTICATED],
    ['of nobody', { key: keyOf('w') }, undefined, status.UNAUTHENTICATED],
    ['a token for another model', { key }, 'other', status.PERMISSION_DENIED],
    ['a token for the model', { key }, 'image', 0],
  ])('%s', async (_what, asked, only, code) => {
    const { api, invoke } = await startInvoking({ anonymousRole: 'none' });
    if (only !== undefined) api.callers.set(key, { human_readable_id: only });
    const got = await invoke({}, asked).then(
      () => 0,
      (error: unknown) => (error as { code: number }).code,
    );
    expect(got).toBe(code);
    expect(api.invocations).toHaveLength(code === 0 ? 1 : 0);
  });

  test('revoked while the model is at it: nothing is stored', async () => {
    const answer = deferred();
    const asked = deferred();
    const { api, invoke } = await startInvoking({
      anonymousRole: 'none',
      predict: (call, done) => {
        asked.resolve();
        void answer.promise.then(() => echo(call, done));
      },
    });
    const ended = invoke({}, { key }).catch((error: unknown) => error);
    await asked.promise;
    api.callers.clear();
    expect(await ended).toMatchObject({ code: status.UNAUTHENTICATED });
    answer.resolve();
    expect(api.invocations).toEqual([]);
  });
});
