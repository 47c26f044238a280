import { status } from '@grpc/grpc-js';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from 'vitest';
import { keyOf, modelOf, type PrivateApi } from './private-api.js';
import {
  clientOf,
  deferred,
  echo,
  outputsOf,
  readyAt,
  requestOf,
  startReplica,
  startScene,
  soon,
  tensor,
  type Asked,
} from './scene.js';

const model = modelOf(1);
const key = keyOf('a');
const pathOf = (name: string) => `/inference.GRPCInferenceService/${name}`;

/** Of fields that are texts, by number. */
function message(texts: Record<number, string>, inputs: Buffer[] = [], raw: Buffer[] = []): Buffer {
  const writer = new BinaryWriter();
  for (const [field, text] of Object.entries(texts)) {
    writer.tag(Number(field), WireType.LengthDelimited).string(text);
  }
  for (const one of inputs) writer.tag(5, WireType.LengthDelimited).bytes(one);
  for (const one of raw) writer.tag(7, WireType.LengthDelimited).bytes(one);
  return Buffer.from(writer.finish());
}

function input(name: string, datatype: string, ...shape: number[]): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(name);
  writer.tag(2, WireType.LengthDelimited).string(datatype);
  for (const size of shape) writer.tag(3, WireType.Varint).int64(size);
  return Buffer.from(writer.finish());
}

const doubles = Buffer.from(Float64Array.of(1.5, -2).buffer);
const thousand = Buffer.alloc(8_000);
const large = message({ 1: 'echo' }, [input('x', 'FP64', 1_000)], [thousand]);
const largeAnswer = outputsOf(requestOf({ x: tensor(2, [1_000], thousand) }));
const good = message({ 1: 'echo', 3: 'a1' }, [input('x', 'FP64', 2)], [doubles]);

interface How extends Asked {
  options?: Parameters<typeof startScene>[0];
  before?: (api: PrivateApi) => void;
  replica?: Parameters<typeof startReplica>[0];
}

/** The answer, or the code and words with which a call ends. */
async function ask(name: string, request: Buffer, how: How = {}): Promise<Buffer | unknown[]> {
  const { api, address } = await startScene(how.options);
  api.callers.set(key, {});
  how.before?.(api);
  const replica = await startReplica(how.replica ?? echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  return clientOf(address)
    .unary(pathOf(name), request, how)
    .catch((error: unknown) => {
      const { code, details } = error as { code: number; details: string };
      return [code, details];
    });
}

const yes = Buffer.from([0x08, 1]);
const nobody = { options: { anonymousRole: 'none' as const } };

describe('who may ask', () => {
  test('anybody whether the server is there', async () => {
    expect(await ask('ServerLive', Buffer.alloc(0), nobody)).toEqual(yes);
    expect(await ask('ServerReady', Buffer.alloc(0), nobody)).toEqual(yes);
  });

  test.each([
    ['ServerMetadata', Buffer.alloc(0)],
    ['ModelReady', message({ 1: 'echo' })],
    ['ModelMetadata', message({ 1: 'echo' })],
    ['ModelInfer', good],
  ])('only who has a key: %s', async (name, request) => {
    const withKey = { ...nobody, key };
    const withWords = (code: number): unknown[] => [code, expect.any(String)];
    expect(await ask(name, request, nobody)).toEqual(withWords(status.UNAUTHENTICATED));
    expect(Buffer.isBuffer(await ask(name, request, withKey))).toBe(true);
    const before = (api: PrivateApi) => void api.callers.set(key, { human_readable_id: 'b' });
    const refused = await ask(name, request, { ...withKey, before });
    expect(refused).toEqual(withWords(status.PERMISSION_DENIED));
  });

  test('and no longer than a key is good', async () => {
    const asked = deferred();
    const { api, address } = await startScene(nobody.options);
    api.callers.set(key, {});
    const replica = await startReplica(() => asked.resolve());
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const pending = clientOf(address)
      .unary(pathOf('ModelInfer'), good, { key })
      .catch((error: unknown) => error);
    await asked.promise;
    api.callers.clear();
    expect(await pending).toMatchObject({ code: status.UNAUTHENTICATED });
  });
});

describe('inference', () => {
  test('answers with raw contents', async () => {
    const answer = (await ask('ModelInfer', good)) as Buffer;
    expect(answer.subarray(-doubles.length)).toEqual(doubles);
    const head = message({ 1: 'echo', 2: '1', 3: 'a1' });
    expect(answer.subarray(0, head.length)).toEqual(head);
  });

  test.each<[string, number, string, Buffer, How?]>([
    ['no name', status.INVALID_ARGUMENT, 'names no model', message({})],
    ['another model', status.NOT_FOUND, 'no model of', message({ 1: 'b' })],
    ['another version', status.NOT_FOUND, 'this version', message({ 1: 'echo', 2: '7' })],
    ['no version', status.INVALID_ARGUMENT, 'is a number', message({ 1: 'echo', 2: '-1' })],
    ['no input', status.INVALID_ARGUMENT, '"x" is missing', message({ 1: 'echo' })],
    [
      ...(['another datatype', status.INVALID_ARGUMENT, 'must be FP64'] as const),
      message({ 1: 'echo' }, [input('x', 'FP32', 2)], [doubles]),
    ],
    [
      ...(['a huge shape', status.INVALID_ARGUMENT, 'a number of values'] as const),
      message({ 1: 'echo' }, [input('x', 'FP64', 2 ** 52, 2 ** 52)], [doubles]),
    ],
    [
      ...(['raw contents of no input', status.INVALID_ARGUMENT, 'raw_input_contents'] as const),
      message({ 1: 'echo' }, [input('x', 'FP64', 2)], [doubles, doubles]),
    ],
    ['no message', status.INVALID_ARGUMENT, 'no valid protobuf', Buffer.from('ff', 'hex')],
    [
      ...(['a model that refuses', status.FAILED_PRECONDITION, 'not today', good] as const),
      {
        replica: (_call, done) => done({ code: status.FAILED_PRECONDITION, details: 'not today' }),
      },
    ],
    [
      ...(['a model that never answers', status.DEADLINE_EXCEEDED, '', good] as const),
      { replica: () => undefined, options: { maxCallMs: 300 } },
    ],
    [
      ...(['one whose caller waits no longer', status.DEADLINE_EXCEEDED, '', good] as const),
      { replica: () => undefined, deadlineMs: 300 },
    ],
    [
      ...(['a message that cannot be held twice', status.RESOURCE_EXHAUSTED, '', good] as const),
      { options: { maxQueuedBytes: 100 } },
    ],
    [
      ...(['a request too large to hold', status.RESOURCE_EXHAUSTED, '', large] as const),
      {
        options: { maxQueuedBytes: 20_000 },
        replica: (_call, done) => done({ code: status.ABORTED }),
      },
    ],
    [
      ...(['an answer too large to hold', status.RESOURCE_EXHAUSTED, '', good] as const),
      { options: { maxQueuedBytes: 12_000 }, replica: (_call, done) => done(null, largeAnswer) },
    ],
  ])('%s: %i', async (_what, code, words, request, how) => {
    expect(await ask('ModelInfer', request, how)).toEqual([
      code,
      expect.stringContaining(words) as string,
    ]);
  });
});

test('a model is not ready that cannot be started', async () => {
  const { api, address } = await startScene();
  const detail = 'no image';
  const trouble = [{ model_version_id: model.model_version_id, detail }];
  api.tell({ models: [model], trouble });
  const ready = () => clientOf(address).unary(pathOf('ModelReady'), message({ 1: 'echo' }));
  await expect.poll(ready, soon).toEqual(Buffer.alloc(0));
  api.tell({ models: [model], trouble: [] });
  await expect.poll(ready, soon).toEqual(yes);
});
