import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from 'vitest';
import { callerHeader, writeCaller } from '@inference-server/contracts';
import {
  decodeInvocationResponse,
  encodeInvocationRequest,
  encodeOipModelMetadata,
  encodeOipState,
  type MetadataEntry,
} from '@inference-server/protos';
import { batchModelOf, tokens, type PrivateApi } from './private-api.js';
import { openStream, startStreams, token } from './redhare-scene.js';
import { clientOf, soon, startScene } from './scene.js';
import { playTasks, type Files, type Tasks } from './tasks.js';
import { errorOf, okOf, startDoor } from './zerorpc-scene.js';

/** A batch model `cat`, known to the gateway, that answers with the document it was given, some bytes and a number. */
async function tellOfCat(api: PrivateApi): Promise<Tasks> {
  const tasks = playTasks(api, async (files) => ({
    'outputs.json': `{"same": ${documentIn(files)}, "raw": {"file": "outputs/raw"}, "one": 1.0}`,
    'outputs/raw': Uint8Array.of(0xff, 0),
  }));
  const told = api.reports.length;
  api.tell({ models: [], batch_models: [batchModelOf('cat', 3)] });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(told);
  return tasks;
}

const documentIn = (files: Files) => files['inputs.json']?.toString() ?? '';
const documentsOf = ({ posts }: Tasks) => posts.map(({ files }) => documentIn(files));

describe('the Open Inference Protocol', () => {
  const metadata = {
    ...{ name: 'cat', versions: ['3'], platform: 'inferenceserver_batch' },
    ...{ inputs: [], outputs: [] },
  };

  test('by HTTP', async () => {
    const { api, httpUrl } = await startScene();
    const tasks = await tellOfCat(api);
    const caller = { owner: 'key:a', role: 'submit', credential: 'key:a', address: '::1' } as const;
    const headers = {
      authorization: `Bearer ${tokens.relay}`,
      [callerHeader]: writeCaller(caller),
    };
    async function ask(path: string, body?: object) {
      const asked = body && { method: 'POST', body: JSON.stringify(body) };
      const answer = await fetch(`${httpUrl}/v2/models/cat${path}`, { headers, ...asked });
      return [answer.status, await answer.json()];
    }
    expect(await ask('')).toEqual([200, metadata]);
    expect(await ask('/versions/3')).toEqual([200, metadata]);
    expect(await ask('/ready')).toEqual([200, { name: 'cat', ready: true }]);
    const inputs = [
      { name: 'n', datatype: 'INT64', shape: [1, 2], data: [1, '9007199254740993'] },
      { name: 't', datatype: 'BYTES', shape: [1], data: ['für'] },
    ];
    const answer = {
      ...{ model_name: 'cat', model_version: '3', id: 'a' },
      outputs: [{ name: 'one', datatype: 'FP64', shape: [], data: [1] }],
    };
    const outputs = [{ name: 'one' }];
    expect(await ask('/infer', { id: 'a', inputs, outputs })).toEqual([200, answer]);
    expect(documentsOf(tasks)).toEqual(['{"n":[[1,9007199254740993]],"t":["für"]}']);
    expect(tasks.posts[0]?.owner).toBe('key:a');
  });

  test('by gRPC', async () => {
    const { api, address } = await startScene();
    const tasks = await tellOfCat(api);
    const { unary } = clientOf(address);
    const ask = (name: string, request: Buffer) =>
      unary(`/inference.GRPCInferenceService/${name}`, request);
    const cat = Buffer.from('0a03636174', 'hex');
    expect(await ask('ModelMetadata', cat)).toEqual(encodeOipModelMetadata(metadata));
    expect(await ask('ModelReady', cat)).toEqual(encodeOipState(true));
    const input = new BinaryWriter();
    input.tag(1, WireType.LengthDelimited).string('x');
    input.tag(2, WireType.LengthDelimited).string('FP64');
    input.tag(3, WireType.Varint).int64(2);
    const request = new BinaryWriter();
    request.tag(1, WireType.LengthDelimited).string('cat');
    request.tag(5, WireType.LengthDelimited).bytes(input.finish());
    // All would be too many: "same" is a map, for which the protocol has no type.
    const raw = new BinaryWriter().tag(1, WireType.LengthDelimited).string('raw').finish();
    request.tag(6, WireType.LengthDelimited).bytes(raw);
    const doubles = Buffer.from(Float64Array.of(0.5, -2).buffer);
    request.tag(7, WireType.LengthDelimited).bytes(doubles);
    const answer = await ask('ModelInfer', Buffer.from(request.finish()));
    expect(answer.subarray(-6)).toEqual(Buffer.from('02000000ff00', 'hex'));
    expect(documentsOf(tasks)).toEqual(['{"x":[0.5,-2]}']);
  });
});

test('ZeroRPC: it is listed, and has a method of its own', async () => {
  const { api, client } = await startDoor();
  const tasks = await tellOfCat(api);
  const ask = client(0);
  const told = {
    ...{ display_name: 'cat', qualified_name: 'cat', description: '' },
    ...{ major_version: 3, minor_version: 0 },
  };
  const any = { type: 'object' };
  expect(await ask('get_models')).toEqual(okOf([told]));
  expect(await ask('get_model_metadata', 'cat')).toEqual(
    okOf({ ...told, input_schema: any, output_schema: any }),
  );
  const data = { n: [1, { $int: '9007199254740993' }], t: 'für' };
  expect(await ask('cat_predict', { ...data, b: { $bin: 'ff00' } })).toEqual(
    okOf({ same: { ...data, b: { file: 'inputs/b' } }, raw: { $bin: 'ff00' }, one: 1 }),
  );
  expect(documentsOf(tasks)).toEqual([
    '{"n":[1,9007199254740993],"t":"für","b":{"file":"inputs/b"}}',
  ]);
  expect(await ask('cat_predict', [1])).toEqual(
    errorOf('MLModelSchemaValidationException', expect.stringContaining('must be an object')),
  );
});

test('streams: data are JSON, and each answer is too, in its order', async () => {
  const { api, address } = await startStreams();
  await tellOfCat(api);
  api.callers.set(token, { human_readable_id: 'cat' });
  const { send, stream, answers, ended } = openStream(address);
  const sent = ['{"n":1}', '{"n":2}', '{"n":3}'];
  send(...sent);
  stream.end();
  expect(await ended).toBe(undefined);
  expect(answers).toEqual(sent.map((same) => `{"same":${same},"raw":{"base64":"/wA="},"one":1}`));
});

test('Invoke: what it has answered is stored', async () => {
  const { api, address } = await startScene({ defaultInvocationModel: 'cat' });
  const tasks = await tellOfCat(api);
  const { unary } = clientOf(address);
  async function invoke(content: string, metadata: MetadataEntry[] = []) {
    const input = { id: 7, content: Buffer.from(content), metadata };
    const message = Buffer.concat(encodeInvocationRequest(input));
    return decodeInvocationResponse(await unary('/invocation.v1.Invocation/Invoke', message));
  }
  expect(await invoke('{"n": [1.5]}')).toEqual({ status: 'OK', message: '' });
  expect(documentsOf(tasks)).toEqual(['{"n":[1.5]}']);
  expect(api.invocations).toMatchObject([
    {
      head: {
        ...{ id: 7, human_readable_id: 'cat' },
        output_metadata: [
          { key: 'same', value: '{"n":[1.5]}' },
          { key: 'raw', value: '{"base64":"/wA="}' },
          { key: 'one', value: '1' },
        ],
      },
    },
  ]);
  const refused = { status: 'ERROR', message: 'The content is no JSON.' };
  expect(await invoke('no JSON')).toEqual(refused);
});
