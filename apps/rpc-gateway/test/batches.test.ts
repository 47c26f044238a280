import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import type { ModelContract } from '@inference-server/contracts';
import { outlinePredictRequest } from '@inference-server/protos';
import { modelOf } from './private-api.js';
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

const square: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_DOUBLE', shape: [-1, -1] }],
  outputs: [{ name: 'x', dtype: 'DT_DOUBLE', shape: [-1, -1] }],
};
const model = modelOf(1, { max_batch_size: 4, max_delay_ms: 300 });
const askedOf = (...values: number[]) => requestOf({ x: doubles(...values) });

/** How many rows each call had that reached the model. */
async function scene(hosted = model) {
  const { api, address } = await startScene();
  const rows: number[] = [];
  const replica = await startReplica((call, done) => {
    const { inputs } = outlinePredictRequest(call.request);
    rows.push(Number(inputs.get('x')?.shape?.dims[0]));
    echo(call, done);
  });
  api.tell({ models: [hosted], replicas: readyAt(hosted, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  return { rows, ...clientOf(address) };
}

test('calls go together until there are enough rows, and each gets its own', async () => {
  const { rows, predict } = await scene({ ...model, max_delay_ms: 10_000 });
  const began = performance.now();
  const asked = [askedOf(1), askedOf(2, 3), askedOf(4)];
  const answers = await Promise.all(asked.map((one) => predict(one)));
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(rows).toEqual([4]);
  answers.forEach((answer, n) => expect(answer.equals(outputsOf(asked[n]!))).toBe(true));
});

test('those that come too few go when the time is over; a large one goes alone', async () => {
  const { rows, predict } = await scene();
  const asked = [askedOf(1), askedOf(1, 2, 3, 4, 5)];
  const answers = await Promise.all(asked.map((one) => predict(one)));
  expect(rows).toEqual([5, 1]);
  answers.forEach((answer, n) => expect(answer.equals(outputsOf(asked[n]!))).toBe(true));
});

test('a call that says what it wants of the answer goes alone, and whole', async () => {
  const { api, address } = await startScene();
  const requests: Buffer[] = [];
  const replica = await startReplica((call, done) => {
    requests.push(call.request);
    echo(call, done);
  });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const { predict } = clientOf(address);
  // output_filter: ["x"]
  const filter = Buffer.from([0x1a, 1, 0x78]);
  const asked = [1, 2].map((n) => Buffer.concat([askedOf(n), filter]));
  await Promise.all(asked.map((one) => predict(one)));
  expect(requests).toHaveLength(2);
  for (const request of requests) expect(request.subarray(-filter.length)).toEqual(filter);
});

test('calls whose other sizes differ never go together', async () => {
  const { rows, predict } = await scene({ ...model, contract: square });
  const of = (...dims: [number, number]) =>
    requestOf({ x: tensor(2, dims, Buffer.alloc(8 * dims[0] * dims[1], dims[1])) });
  const asked = [of(1, 2), of(1, 3), of(2, 2), of(1, 3)];
  const answers = await Promise.all(asked.map((one) => predict(one)));
  expect(rows.sort()).toEqual([2, 3]);
  answers.forEach((answer, n) => expect(answer.equals(outputsOf(asked[n]!))).toBe(true));
});

test('a model that gives no rows has its calls alone', async () => {
  const outputs = [{ name: 'x', dtype: 'DT_DOUBLE' as const }];
  const { rows, predict } = await scene({ ...model, contract: { ...square, outputs } });
  const asked = requestOf({ x: tensor(2, [1, 1], Buffer.alloc(8)) });
  await Promise.all([predict(asked), predict(asked)]);
  expect(rows).toEqual([1, 1]);
});

test('who goes away leaves the others be', async () => {
  const { rows, predict } = await scene({ ...model, max_delay_ms: 2_000 });
  const end = new AbortController();
  const gone = predict(askedOf(1), { signal: end.signal }).catch((error: unknown) => error);
  const stays = predict(askedOf(2));
  setTimeout(() => end.abort(), 100);
  expect(await gone).toMatchObject({ code: status.CANCELLED });
  expect((await stays).equals(outputsOf(askedOf(2)))).toBe(true);
  expect(rows).toEqual([1]);
});

test('who goes away while the model works leaves the others be, and the last one ends it', async () => {
  const { api, address } = await startScene();
  const gate = deferred();
  let cancelled = 0;
  const replica = await startReplica((call, done) => {
    call.on('cancelled', () => (cancelled += 1));
    void gate.promise.then(() => echo(call, done));
  });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  const ask = (first: number, end: AbortController) =>
    predict(askedOf(first, 0), { signal: end.signal }).catch((error: unknown) => error);
  const busy = () => expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon);
  const ends = Array.from({ length: 4 }, () => new AbortController());
  const both = [ask(1, ends[0]!), ask(2, ends[1]!)];
  await busy().toBe(1);
  const others = [ask(3, ends[2]!), ask(4, ends[3]!)];
  await busy().toBe(2);
  ends[0]!.abort();
  expect(await both[0]).toMatchObject({ code: status.CANCELLED });
  for (const end of ends.slice(2)) end.abort();
  await Promise.all(others);
  await expect.poll(() => cancelled, soon).toBe(1);
  gate.resolve();
  expect((await both[1]) as Buffer).toEqual(outputsOf(askedOf(2, 0)));
});

test('who joins what everybody has left waits in another one', async () => {
  const { rows, predict } = await scene({ ...model, max_delay_ms: 1_500 });
  const end = new AbortController();
  const gone = predict(askedOf(1), { signal: end.signal }).catch((error: unknown) => error);
  setTimeout(() => end.abort(), 300);
  expect(await gone).toMatchObject({ code: status.CANCELLED });
  expect((await predict(askedOf(2))).equals(outputsOf(askedOf(2)))).toBe(true);
  expect(rows).toEqual([1]);
});

test('values that do not make their shape, or would take far more room, go alone', async () => {
  const { rows, predict } = await scene({ ...model, contract: square });
  const value = Buffer.concat([Buffer.from([0x31]), Buffer.alloc(8)]);
  const bare = (...dims: [number, number]) => tensor(2, dims, Buffer.alloc(0)).subarray(0, -2);
  const many = requestOf({ x: Buffer.concat([bare(1, 2 ** 25), value]) });
  const sound = requestOf({ x: tensor(2, [1, 1], Buffer.alloc(8)) });
  const began = performance.now();
  const asked = [many, many, many, sound, sound];
  const answers = await Promise.all(asked.map((one) => predict(one)));
  expect(performance.now() - began).toBeLessThan(3_000);
  expect(rows).toEqual([1, 1, 1, 2]);
  answers.forEach((answer, n) => expect(answer.equals(outputsOf(asked[n]!))).toBe(true));
});

test.each([...(['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'FAILED_PRECONDITION'] as const)])(
  'what a model refuses with %s is asked for one by one',
  async (code) => {
    const { api, address } = await startScene();
    const replica = await startReplica((call, done) => {
      const { inputs } = outlinePredictRequest(call.request);
      // The first value of those that are doubles is 1: it stands at the end of its 8 bytes.
      const isBad = inputs.get('x')!.bytes.includes(Buffer.from([0xf0, 0x3f]));
      if (isBad) done({ code: status[code], details: 'no ones' });
      else echo(call, done);
    });
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const { predict } = clientOf(address);
    const asked = [1, 2, 3].map((n) => askedOf(n));
    const answers = await Promise.all(
      asked.map((one) => predict(one).catch((error: unknown) => error)),
    );
    expect(answers[0]).toMatchObject({ code: status[code], details: 'no ones' });
    for (const n of [1, 2]) expect((answers[n] as Buffer).equals(outputsOf(asked[n]!))).toBe(true);
  },
);

test('a call that waits for others has a replica started', async () => {
  const { api, address } = await startScene();
  const hosted = { ...model, max_delay_ms: 4_000 };
  api.tell({ models: [hosted] });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const pending = clientOf(address).predict(askedOf(1));
  const began = performance.now();
  await expect.poll(() => api.reports.at(-1)?.demand[0]?.waiting, soon).toBe(1);
  expect(performance.now() - began).toBeLessThan(3_000);
  const replica = await startReplica(echo);
  api.tell({ replicas: readyAt(hosted, replica.address) });
  expect((await pending).equals(outputsOf(askedOf(1)))).toBe(true);
});

test('an answer that there is no room for is refused to all that went together', async () => {
  const { api, address } = await startScene({ maxQueuedBytes: 3_000 });
  const hosted = { ...model, contract: square };
  const sizes = [100, 10];
  const replica = await startReplica((_call, done) => {
    const columns = sizes.shift() ?? 0;
    done(null, outputsOf(requestOf({ x: tensor(2, [2, columns], Buffer.alloc(16 * columns)) })));
  });
  api.tell({ models: [hosted], replicas: readyAt(hosted, replica.address) });
  const { predict } = clientOf(address);
  const asked = requestOf({ x: tensor(2, [1, 1], Buffer.alloc(8)) });
  const both = () => Promise.all([1, 2].map(() => predict(asked).catch((error: unknown) => error)));
  for (const error of await both()) {
    expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  }
  const part = outputsOf(requestOf({ x: tensor(2, [1, 10], Buffer.alloc(80)) }));
  for (const answer of await both()) expect((answer as Buffer).equals(part)).toBe(true);
});

test('an error is the answer to all that went together', async () => {
  const { api, address } = await startScene();
  const replica = await startReplica((_call, done) =>
    done({ code: status.ABORTED, details: 'no such rows' }),
  );
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  const errors = await Promise.all(
    [1, 2].map((n) => predict(askedOf(n, n)).catch((error: unknown) => error)),
  );
  for (const error of errors) {
    expect(error).toMatchObject({ code: status.ABORTED, details: 'no such rows' });
  }
});

test('an answer with another number of rows is the fault of the model', async () => {
  const { api, address } = await startScene();
  const replica = await startReplica((_call, done) => done(null, outputsOf(askedOf(1))));
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  const errors = await Promise.all(
    [1, 2].map((n) => predict(askedOf(n, n)).catch((error: unknown) => error)),
  );
  for (const error of errors) expect(error).toMatchObject({ code: status.INTERNAL });
});
