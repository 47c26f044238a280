import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { encodeModelSpec } from '@inference-server/protos';
import { idOf, keyOf, modelOf } from './private-api.js';
import {
  clientOf,
  deferred,
  doubles,
  echo,
  outputsOf,
  readyAt,
  requestOf,
  startReplica,
  startScene,
  tensor,
  soon,
} from './scene.js';

const asked = requestOf({ x: doubles(1, 2, 3) });
const model = modelOf(1);

describe('a call', () => {
  test('reaches the model with its own model_spec, and its answer comes as it is', async () => {
    const { api, address } = await startScene();
    const seen: Buffer[] = [];
    const replica = await startReplica((call, done) => {
      seen.push(call.request);
      echo(call, done);
    });
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const { predict } = clientOf(address);
    // Unknown fields go along too.
    const request = Buffer.concat([asked, Buffer.from([0x9a, 0x06, 2, 7, 8])]);
    expect((await predict(request)).equals(outputsOf(asked))).toBe(true);
    // The container knows its model by no version of ours.
    const spec = encodeModelSpec({ name: 'echo', signatureName: 'predict' });
    const behind = request.subarray(encodeModelSpec({ name: 'echo' }).length);
    const named = encodeModelSpec({ name: 'echo', version: 1n });
    expect((await predict(Buffer.concat([named, behind]))).equals(outputsOf(asked))).toBe(true);
    const expected = Buffer.concat([spec, behind]);
    expect(seen.map((one) => one.equals(expected))).toEqual([true, true]);
  });

  test('of 20 MiB comes and goes whole', async () => {
    const { api, address } = await startScene();
    const replica = await startReplica(echo);
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const content = Buffer.alloc(20 * 1024 ** 2, 3);
    const request = requestOf({ x: tensor(2, [content.length / 8], content) });
    const answer = await clientOf(address).predict(request);
    expect(answer.equals(outputsOf(request))).toBe(true);
  });

  test.each([1, 2])(
    'of 3 values of which %i are there goes on as it is: the last one is repeated',
    async (n) => {
      const { api, address } = await startScene();
      const replica = await startReplica(echo);
      api.tell({ models: [model], replicas: readyAt(model, replica.address) });
      // A DT_DOUBLE with the shape [3], and double_val.
      const head = Buffer.from([0x08, 2, 0x12, 4, 0x12, 2, 0x08, 3, 0x32, 8 * n]);
      const request = requestOf({ x: Buffer.concat([head, Buffer.alloc(8 * n, 7)]) });
      expect((await clientOf(address).predict(request)).equals(outputsOf(request))).toBe(true);
    },
  );

  test('of a model without a replica waits for one, and private-api hears of it at once', async () => {
    const { api, address } = await startScene();
    const replica = await startReplica(echo);
    api.tell({ models: [model] });
    const pending = clientOf(address).predict(asked);
    const demand = { model_version_id: model.model_version_id, waiting: 1, in_flight: 0 };
    await expect.poll(() => api.reports.at(-1)?.demand, soon).toEqual([demand]);
    api.tell({ replicas: readyAt(model, replica.address) });
    expect((await pending).equals(outputsOf(asked))).toBe(true);
  });

  test('of a model that was registered a moment ago is answered', async () => {
    const { api, address } = await startScene();
    const replica = await startReplica(echo);
    const { predict } = clientOf(address);
    await expect(predict(asked)).rejects.toMatchObject({ code: status.NOT_FOUND });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(2);
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    expect((await predict(asked)).equals(outputsOf(asked))).toBe(true);
  });

  test('of a model that was registered after another was looked for is answered', async () => {
    const { api, address } = await startScene();
    const replica = await startReplica(echo);
    const { predict } = clientOf(address);
    const other = requestOf({ x: doubles(1) }, { name: 'other' });
    await expect(predict(other)).rejects.toMatchObject({ code: status.NOT_FOUND });
    api.change({ models: [model], replicas: readyAt(model, replica.address) });
    expect((await predict(asked)).equals(outputsOf(asked))).toBe(true);
  });

  test('goes to the newest version that has a replica, or to the one that it names', async () => {
    const { api, address } = await startScene();
    const versions = [1, 2].map((n) => modelOf(n, { is_current: n === 2 }));
    const answerOf = (n: number) => requestOf({}, { name: `version ${n}` });
    const replicas = await Promise.all(
      versions.map(({ version }) => startReplica((_call, done) => done(null, answerOf(version)))),
    );
    const ready = versions.map((one, n) => readyAt(one, replicas[n]!.address)[0]!);
    const { predict } = clientOf(address);
    api.tell({ models: versions, replicas: [ready[0]!] });
    expect((await predict(asked)).equals(answerOf(1))).toBe(true);
    api.tell({ replicas: ready });
    await expect.poll(async () => (await predict(asked)).equals(answerOf(2)), soon).toBe(true);
    const first = requestOf({ x: doubles(1) }, { name: 'echo', version: 1n });
    expect((await predict(first)).equals(answerOf(1))).toBe(true);
    api.tell({ replicas: [ready[1]!] });
    await expect
      .poll(() => predict(first).catch((error: unknown) => error), soon)
      .toMatchObject({ code: status.NOT_FOUND });
  });

  test('goes to the replica with the fewest, up to what each takes, and waits its turn then', async () => {
    const { api, address } = await startScene();
    const counts = [0, 0];
    const gate = deferred();
    const replicas = await Promise.all(
      [0, 1].map((n) =>
        startReplica((call, done) => {
          counts[n]! += 1;
          void gate.promise.then(() => echo(call, done));
        }),
      ),
    );
    const two = modelOf(1, { target_in_flight: 2 });
    api.tell({ models: [two], replicas: readyAt(two, ...replicas.map((one) => one.address)) });
    const { predict } = clientOf(address);
    const calls = Array.from({ length: 7 }, () => predict(asked));
    await expect.poll(() => counts, soon).toEqual([2, 2]);
    await expect
      .poll(() => api.reports.at(-1)?.demand[0], soon)
      .toMatchObject({
        ...{ waiting: 3, in_flight: 4 },
      });
    gate.resolve();
    await Promise.all(calls);
    expect(counts[0]! + counts[1]!).toBe(7);
  });
});

test.each([
  ['takes what the newest has no room for', model.contract, ['version 2', 'version 1']],
  ['of another contract takes nothing', { ...model.contract, outputs: [] }, ['version 2']],
])('a version before %s', async (_what, contract, before) => {
  const { api, address } = await startScene();
  const gate = deferred();
  const taken: string[] = [];
  const versions = [1, 2].map((n) =>
    modelOf(n, { is_current: n === 2, target_in_flight: 1, ...(n === 1 && { contract }) }),
  );
  const replicas = await Promise.all(
    versions.map(({ version }) =>
      startReplica((call, done) => {
        taken.push(`version ${version}`);
        void gate.promise.then(() => echo(call, done));
      }),
    ),
  );
  const ready = versions.map((one, n) => readyAt(one, replicas[n]!.address)[0]!);
  api.tell({ models: versions, replicas: ready });
  const { predict } = clientOf(address);
  const call = () => predict(requestOf({ x: doubles(1) }));
  const calls = [call()];
  await expect.poll(() => taken, soon).toEqual(['version 2']);
  calls.push(call());
  const waiting = 2 - before.length;
  await expect
    .poll(() => api.reports.at(-1)?.demand, soon)
    .toContainEqual(expect.objectContaining({ model_version_id: idOf(2), waiting }));
  await expect.poll(() => taken, soon).toEqual(before);
  gate.resolve();
  await Promise.all(calls);
});

test('calls that wait for one version hold nobody up who asks another', async () => {
  const { api, address } = await startScene();
  const gate = deferred();
  const versions = [1, 2].map((n) => modelOf(n, { is_current: n === 2, target_in_flight: 1 }));
  const busy = await startReplica((call, done) => void gate.promise.then(() => echo(call, done)));
  const free = await startReplica(echo);
  const ready = versions.map((one, n) => readyAt(one, [busy, free][n]!.address)[0]!);
  api.tell({ models: versions, replicas: ready });
  const { predict } = clientOf(address);
  const first = requestOf({ x: doubles(1) }, { name: 'echo', version: 1n });
  const waiting = [predict(first), predict(first), predict(first)];
  await expect
    .poll(() => api.reports.at(-1)?.demand.at(-1), soon)
    .toMatchObject({
      ...{ waiting: 2, in_flight: 1 },
    });
  expect((await predict(asked)).equals(outputsOf(asked))).toBe(true);
  gate.resolve();
  await Promise.all(waiting);
});

describe('a call is refused', () => {
  const refusedWith = async (request: Buffer, options: Parameters<typeof startScene>[0] = {}) => {
    const { api, address } = await startScene(options);
    const replica = await startReplica(echo);
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const { predict } = clientOf(address);
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    return predict(request).catch((error: unknown) => error);
  };

  test.each([
    ['bytes that are no message', Buffer.from([0x0a, 0xff, 0xff]), 'no valid protobuf'],
    ['no model', requestOf({ x: doubles(1) }, { name: '' }), 'names no model'],
    ['a missing input', requestOf({}), '"x" is missing'],
    ['an unknown input', requestOf({ x: doubles(1), y: doubles(1) }), 'does not have'],
    ['another type', requestOf({ x: tensor(1, [1], Buffer.alloc(4)) }), '"x" must be DT_DOUBLE'],
    ['another shape', requestOf({ x: tensor(2, [1, 1], Buffer.alloc(8)) }), 'the shape [-1]'],
    [
      'another signature',
      requestOf({ x: doubles(1) }, { name: 'echo', signatureName: 'other' }),
      'signature of the model is "predict"',
    ],
  ])('%s: INVALID_ARGUMENT', async (_what, request, text) => {
    const error = await refusedWith(request);
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect((error as Error).message).toContain(text);
  });

  test('a model that there is not, or not at this version: NOT_FOUND', async () => {
    const named = (name: string, version?: bigint) =>
      requestOf({ x: doubles(1) }, { name, ...(version !== undefined && { version }) });
    const of = { code: status.NOT_FOUND };
    expect(await refusedWith(named('other'))).toMatchObject(of);
    expect(await refusedWith(named('echo', 9n))).toMatchObject(of);
    expect(await refusedWith(named('echo', 2n ** 60n))).toMatchObject(of);
  });

  test('too large a message: RESOURCE_EXHAUSTED', async () => {
    const large = requestOf({ x: doubles(...Array.from({ length: 200 }, () => 1)) });
    expect(await refusedWith(large, { maxMessageBytes: 1_000 })).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
  });

  test('without a replica in time: UNAVAILABLE, why, and when to come again', async () => {
    const { api, address } = await startScene({ startTimeoutMs: 300 });
    const trouble = [{ model_version_id: model.model_version_id, detail: 'no consumer has room' }];
    api.tell({ models: [model], trouble });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const error = await clientOf(address)
      .predict(asked)
      .catch((one: unknown) => one);
    expect(error).toMatchObject({ code: status.UNAVAILABLE });
    const { details, metadata } = error as { details: string; metadata: Map<string, unknown> };
    expect(details).toContain('no consumer has room');
    expect(metadata.get('retry-after')).toEqual(['10']);
  });

  test('a full queue: RESOURCE_EXHAUSTED', async () => {
    const { api, address } = await startScene({ maxQueuePerModel: 2, startTimeoutMs: 1_000 });
    api.tell({ models: [model] });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const { predict } = clientOf(address);
    const codes = await Promise.all(
      Array.from({ length: 4 }, () =>
        predict(asked).catch((one: unknown) => (one as { code: number }).code),
      ),
    );
    expect(codes.filter((code) => code === status.RESOURCE_EXHAUSTED).length).toBe(2);
    expect(codes.filter((code) => code === status.UNAVAILABLE).length).toBe(2);
  });

  test('a queue of one version is full: calls of another are taken while it has room', async () => {
    const { api, address } = await startScene({ maxQueuePerModel: 2, startTimeoutMs: 1_000 });
    const replica = await startReplica(echo);
    const models = [{ ...model, is_current: false }, modelOf(2)];
    api.tell({ models, replicas: readyAt(model, replica.address) });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const { predict } = clientOf(address);
    const of = (version: bigint) => requestOf({ x: doubles(1) }, { name: 'echo', version });
    const waiting = [2n, 2n].map((version) => predict(of(version)).catch(() => undefined));
    await expect.poll(() => api.reports.at(-1)?.demand[0]?.waiting, soon).toBe(2);
    for (let n = 0; n < 3; n += 1) expect(await predict(of(1n))).toEqual(outputsOf(of(1n)));
    expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
  });

  test('before there were news: UNAVAILABLE', async () => {
    const { api, address } = await startScene();
    api.goAway();
    const error = await clientOf(address)
      .predict(asked)
      .catch((one: unknown) => one);
    expect([status.UNAVAILABLE, status.NOT_FOUND]).toContain((error as { code: number }).code);
    expect(
      await clientOf(address)
        .predict(asked, { key: keyOf('b') })
        .catch((one: unknown) => one),
    ).toMatchObject({
      code: status.UNAVAILABLE,
    });
  });
});
