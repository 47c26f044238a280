import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { encodeOutputs } from '@inference-server/protos';
import { freePort, runClient, startPeers } from '@inference-server/testing';
import { modelOf } from './private-api.js';
import { deferred, echo, readyAt, soon, startReplica, startScene, tensor } from './scene.js';
import { atHome, contract, errorOf, okOf, rose, startDoor } from './zerorpc-scene.js';

const data = { text: 'Blüte', ids: [1, { $int: '9007199254740993' }, -2] };
const listed = {
  display_name: 'iris v1.2',
  qualified_name: 'iris_v1_2',
  description: 'Irises.',
  major_version: 3,
  minor_version: 0,
};

test('models are told of, and each has a method of its own', async () => {
  const { client } = await startDoor();
  const ask = client(0);
  const of = { display_name: 'rose', qualified_name: 'rose', description: '' };
  expect(await ask('get_models')).toEqual(
    okOf([listed, { ...of, major_version: 1, minor_version: 0 }]),
  );
  const { args } = await ask('get_model_metadata', 'iris_v1_2');
  const schema = {
    type: 'object',
    properties: { text: expect.any(Object), ids: { type: 'array', items: expect.any(Object) } },
    required: ['text', 'ids'],
    additionalProperties: false,
  };
  expect(args).toEqual([{ ...listed, input_schema: schema, output_schema: schema }]);
  const data = [{ name: 'data' }];
  expect(await ask('_zerorpc_inspect')).toEqual(
    okOf({
      name: 'ModelZeroRPCService',
      methods: {
        get_models: { args: [], doc: 'Return list of models hosted in this service.' },
        get_model_metadata: {
          args: [{ name: 'qualified_name' }],
          doc: 'Return metadata about a model hosted by the service.',
        },
        iris_v1_2_predict: { args: data, doc: 'Predict with the iris v1.2.' },
        rose_predict: { args: data, doc: 'Predict with the rose.' },
      },
    }),
  );
  expect(await ask('_zerorpc_name')).toEqual(okOf('ModelZeroRPCService'));
  expect(await ask('_zerorpc_help', 'rose_predict')).toEqual(okOf('Predict with the rose.'));
});

test('values come back as they are: text, bytes, and integers of 64 bits', async () => {
  const { client } = await startDoor();
  const ask = client(0);
  expect(await ask('iris_v1_2_predict', data)).toEqual(okOf(data));
  const bytes = { text: { $bin: 'ff00' }, ids: [] };
  expect(await ask('rose_predict', bytes)).toEqual(okOf(bytes));
  // Bytes that are UTF-8 are text.
  const sent = { text: { $bin: Buffer.from('é').toString('hex') }, ids: [] };
  expect(await ask('rose_predict', sent)).toEqual(okOf({ text: 'é', ids: [] }));
});

test('the one value of an output without a shape stands by itself', async () => {
  const { api, client } = await startDoor();
  const species = Buffer.concat([Buffer.from('08074206', 'hex'), Buffer.from('setosa')]);
  const answer = Buffer.concat(encodeOutputs(new Map([['species', species]])));
  const replica = await startReplica((_call, done) => done(null, answer));
  const outputs = [{ name: 'species', dtype: 'DT_STRING' as const }];
  const flower = modelOf(7, { human_readable_id: 'flower', contract: { ...contract, outputs } });
  api.tell({ models: [flower], replicas: readyAt(flower, replica.address) });
  await expect
    .poll(() => client(0)('flower_predict', data), soon)
    .toEqual(okOf({ species: 'setosa' }));
});

test('what is wrong is said by name', async () => {
  const { client } = await startDoor();
  const text = expect.any(String) as unknown;
  const noMetadata = errorOf('ValueError', 'Metadata not found for this model.');
  for (const [method, args, error] of [
    ['no_such_method', [], errorOf('NameError', text)],
    ['no_such_model_predict', [{}], errorOf('NameError', text)],
    ['_zerorpc_help', ['no_such_model_predict'], errorOf('NameError', text)],
    ['get_model_metadata', ['iris v1.2'], noMetadata],
    ['get_model_metadata', [7], noMetadata],
    ['get_model_metadata', [], errorOf('TypeError', text)],
    ['rose_predict', [], errorOf('TypeError', text)],
  ] as const) {
    expect(await client(0)(method, ...args), method).toEqual(error);
  }
  for (const [given, why] of [
    [{ ids: [1] }, '"text" is missing'],
    [{ text: 5, ids: [1] }, '"text" must be a string'],
    [{ text: 'a', ids: [1.5] }, '"ids"[0] must be'],
    [{ text: 'a', ids: 1 }, '"ids"'],
    [{ text: 'a', ids: [true] }, '"ids"[0] must be'],
    [{ ...data, more: 1 }, 'There is an input that the model does not have.'],
    ['text', 'The inputs must be an object'],
    [null, 'The inputs must be an object'],
  ] as const) {
    expect(await client(0)('rose_predict', given), why).toEqual(
      errorOf('MLModelSchemaValidationException', expect.stringContaining(why)),
    );
  }
});

test("a model's own failure is told as such", async () => {
  const { api, client } = await startDoor();
  const replica = await startReplica((_call, done) =>
    done({ code: status.INVALID_ARGUMENT, details: 'too small' }),
  );
  const failing = modelOf(9, { human_readable_id: 'failing', contract });
  api.tell({ models: [failing], replicas: readyAt(failing, replica.address) });
  await expect
    .poll(() => client(0)('failing_predict', data), soon)
    .toEqual(errorOf('ModelError', 'The model answered INVALID_ARGUMENT: too small'));
});

test('a call that takes longer than any may is cancelled in the container', async () => {
  const { api, client } = await startDoor({ maxCallMs: 1_000 });
  const cancelled = deferred();
  const replica = await startReplica((call) => call.on('cancelled', () => cancelled.resolve()));
  const slow = modelOf(12, { human_readable_id: 'slow', contract });
  const late = errorOf('TimeoutError', 'The call was not answered in time.');
  api.tell({ models: [slow], replicas: readyAt(slow, replica.address) });
  expect(await client(0)('slow_predict', data)).toEqual(late);
  await cancelled.promise;
});

test('models come and go while clients stay', async () => {
  const { api, client } = await startDoor();
  const ask = client(0);
  const next = { ...rose, human_readable_id: 'rose:2' };
  const replica = await startReplica(echo);
  api.tell({ models: [next], replicas: readyAt(next, replica.address) });
  // At once: what is not known is asked for.
  expect(await ask('rose_2_predict', data)).toEqual(okOf(data));
  expect((await ask('_zerorpc_list')).args).toEqual([
    ['get_models', 'get_model_metadata', 'rose_2_predict'],
  ]);
  expect(await ask('rose_predict', data)).toEqual(errorOf('NameError', expect.any(String)));
});

test('of names that are alike the one is there that is its own', async () => {
  const { api, client } = await startDoor();
  const models = ['a.b', 'a_b', 'a b', 'c:d', 'c.d'].map((id, n) =>
    modelOf(n + 20, { human_readable_id: id, contract }),
  );
  api.tell({ models });
  const names = async () =>
    ((await client(0)('get_models')).args as [{ display_name: string }[]])[0].map(
      ({ display_name: name }) => name,
    );
  await expect.poll(names, soon).toEqual(['a_b', 'c.d']);
});

test('before anything is known a call hears that it cannot be answered now', async () => {
  const nobody = `http://127.0.0.1:${await freePort()}`;
  const { gateway } = await startScene({ zerorpc: atHome, privateApiUrl: nobody });
  const peers = await startPeers(gateway.zerorpcPort!);
  for (const method of ['get_models', 'rose_predict', '_zerorpc_inspect']) {
    const args = method === 'rose_predict' ? [data] : [];
    expect(await peers.next(peers.call(method, args))).toMatchObject(
      errorOf('ServiceUnavailable', expect.any(String)),
    );
  }
  expect(await peers.next(peers.call('_zerorpc_name', []))).toMatchObject({ name: 'OK' });
});

test.each([1, 2, 3])('a client of version %i, as its users have it', async (v) => {
  const { port } = await startDoor();
  const given = { text: 'a', ids: [1, 2] };
  const answered = (await runClient(port, { v }, 'rose_predict', given)).at(-1);
  expect(answered).toMatchObject({ what: 'result', value: given });
  const refused = (await runClient(port, { v, passive: true }, 'rose_predict', {})).at(-1);
  expect(refused?.what).toBe('RemoteError');
  expect(String(refused?.value)).toMatch(/^MLModelSchemaValidationException.*"text" is missing/);
});

test('20 clients at once, 20 calls each at a time', async () => {
  const { client } = await startDoor();
  const answers = Array.from({ length: 400 }, async (_, n) => {
    const given = { text: `${n}`, ids: [n] };
    expect(await client(n % 20, { v: 2 + (n % 2) })('rose_predict', given)).toEqual(okOf(given));
  });
  await Promise.all(answers);
});

test('an answer that is larger than a message may be is an error', async () => {
  const { api, client } = await startDoor({ maxMessageBytes: 100_000 });
  // Each of them is longer in MessagePack than in a tensor.
  const longs = Buffer.alloc(8 * 12_000, 0x41);
  const answer = Buffer.concat(encodeOutputs(new Map([['ids', tensor(9, [12_000], longs)]])));
  const replica = await startReplica((_call, done) => done(null, answer));
  const large = modelOf(11, { human_readable_id: 'large', contract });
  api.tell({ models: [large], replicas: readyAt(large, replica.address) });
  await expect
    .poll(() => client(0)('large_predict', data), soon)
    .toEqual(errorOf('AnswerTooLarge', 'The answer is larger than 100000 bytes.'));
});
