import { connect, constants, createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '@inference-server/testing';
import { predictPath } from '../src/core/replica-call.js';
import { idOf, modelOf } from './private-api.js';
import {
  asIs,
  clientOf,
  deferred,
  doubles,
  echo,
  outputsOf,
  readyAt,
  requestOf,
  startReplica,
  startScene,
  soon,
} from './scene.js';

const asked = requestOf({ x: doubles(1, 2, 3) });
const model = modelOf(1);
const errorOf = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

/** A replica that does to a call whatever is wanted. */
async function bareReplica(onStream: (stream: ServerHttp2Stream) => void): Promise<string> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    onStream(stream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("the model's own status, text and trailers come as they are", async () => {
  const { api, address } = await startScene();
  const replica = await startReplica((_call, done) => {
    const trailers = new Metadata();
    trailers.set('x-hint', 'smaller');
    done({ code: status.OUT_OF_RANGE, details: 'zu groß', metadata: trailers });
  });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const error = await errorOf(clientOf(address).predict(asked));
  expect(error).toMatchObject({ code: status.OUT_OF_RANGE, details: 'zu groß' });
  expect((error as { metadata: Metadata }).metadata.get('x-hint')).toEqual(['smaller']);
});

test('a replica that dies in the middle of a call: UNAVAILABLE, and nobody else is asked', async () => {
  const { api, address } = await startScene();
  let others = 0;
  const dying = await bareReplica((stream) => {
    stream.once('data', () => stream.session?.destroy());
  });
  const other = await startReplica((call, done) => {
    others += 1;
    echo(call, done);
  });
  api.tell({ models: [model], replicas: readyAt(model, dying, other.address) });
  const error = await errorOf(clientOf(address).predict(asked));
  expect(error).toMatchObject({ code: status.UNAVAILABLE });
  expect((error as Error).message).toContain('The replica that had the call was lost');
  expect(others).toBe(0);
});

test('another replica is asked where the first never took the call', async () => {
  const { api, address } = await startScene();
  const nobody = `127.0.0.1:${await freePort()}`;
  const refusing = await bareReplica((stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM));
  const other = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, nobody, refusing, other.address) });
  const { predict } = clientOf(address);
  for (let n = 0; n < 5; n += 1) {
    expect((await predict(asked)).equals(outputsOf(asked))).toBe(true);
  }
});

test('a single replica that cannot be reached for a moment is asked again', async () => {
  const { api, address } = await startScene();
  const port = await freePort();
  api.tell({ models: [model], replicas: readyAt(model, `127.0.0.1:${port}`) });
  const pending = clientOf(address).predict(asked);
  await expect.poll(() => api.reports.at(-1)?.demand[0]?.waiting, soon).toBe(1);
  await startReplica(echo, port);
  expect((await pending).equals(outputsOf(asked))).toBe(true);
});

test('replicas that cannot be reached are waited for as long as ones that start, and no longer', async () => {
  const { api, address } = await startScene({ startTimeoutMs: 1_000 });
  const nobody = [await freePort(), await freePort()].map((port) => `127.0.0.1:${port}`);
  const hosted = { ...model, target_in_flight: 1 };
  api.tell({ models: [hosted], replicas: readyAt(hosted, ...nobody) });
  const { predict } = clientOf(address);
  const began = performance.now();
  const errors = await Promise.all(Array.from({ length: 5 }, () => errorOf(predict(asked))));
  expect(performance.now() - began).toBeLessThan(8_000);
  for (const error of errors) {
    expect(error).toMatchObject({ code: status.UNAVAILABLE });
    const { message } = error as Error;
    expect(message).toMatch(/No replica of the model can be reached: .*ECONNREFUSED/);
  }
});

test.each([
  ['held', 200, 5],
  ['that go on as they come', 900, 1],
])('answers %s count as long as callers take them slowly', async (_what, KiB, callers) => {
  const { api, address } = await startScene({ maxQueuedBytes: 1024 ** 2 });
  const replica = await startReplica((_call, done) => done(null, Buffer.alloc(KiB * 1024)));
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  await expect.poll(() => predict(asked), soon).toHaveLength(KiB * 1024);
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  for (let n = 0; n < callers; n += 1) {
    const slow = session.request({
      ...{ ':method': 'POST', ':path': predictPath, 'content-type': 'application/grpc' },
    });
    slow.end(Buffer.concat([Buffer.from([0, 0, 0, 0, asked.length]), asked]));
    await new Promise((resolve) => slow.once('response', resolve));
  }
  const error = await errorOf(predict(asked));
  expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  expect((error as ServiceError).metadata.get('retry-after')).toEqual(['1']);
  session.destroy();
  await expect.poll(() => predict(asked).catch(() => undefined), soon).toHaveLength(KiB * 1024);
});

test('an answer that is none is the fault of the model', async () => {
  const { api, address } = await startScene();
  const replica = await bareReplica((stream) => {
    stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true });
  });
  api.tell({ models: [model], replicas: readyAt(model, replica) });
  const error = await errorOf(clientOf(address).predict(asked));
  expect(error).toMatchObject({ code: status.INTERNAL });
  expect((error as Error).message).toContain("The model's answer is none");
});

test('deadline and cancel reach the model', async () => {
  const { api, address } = await startScene();
  const ends: (number | undefined)[] = [];
  const timeouts: number[] = [];
  const replica = await startReplica((call) => {
    timeouts.push(Number(call.getDeadline()) - Date.now());
    call.on('cancelled', () => ends.push(timeouts.at(-1)));
  });
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  expect(await errorOf(predict(asked, { deadlineMs: 300 }))).toMatchObject({
    code: status.DEADLINE_EXCEEDED,
  });
  expect(timeouts[0]).toBeGreaterThan(0);
  expect(timeouts[0]).toBeLessThanOrEqual(300);
  const end = new AbortController();
  const cancelled = errorOf(predict(asked, { signal: end.signal }));
  await expect.poll(() => timeouts.length, soon).toBe(2);
  end.abort();
  expect(await cancelled).toMatchObject({ code: status.CANCELLED });
  await expect.poll(() => ends.length, soon).toBe(2);
  const idle = { replica_id: idOf(1_000), in_flight: 0 };
  await expect.poll(() => api.reports.at(-1)?.holds[0], soon).toMatchObject(idle);
});

test('a call that waits ends with its deadline, and with the longest time for calls', async () => {
  const { api, address } = await startScene({ maxCallMs: 700 });
  api.tell({ models: [model] });
  const { predict } = clientOf(address);
  const began = performance.now();
  expect(await errorOf(predict(asked, { deadlineMs: 200 }))).toMatchObject({
    code: status.DEADLINE_EXCEEDED,
  });
  expect(await errorOf(predict(asked))).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  expect(performance.now() - began).toBeLessThan(3_000);
});

test('a replica that is named no more ends its calls, takes no others, and is let go of then', async () => {
  const { api, address } = await startScene();
  const gate = deferred();
  const old = await startReplica((call, done) => void gate.promise.then(() => echo(call, done)));
  const next = await startReplica(echo);
  const replicas = readyAt(model, old.address, next.address);
  api.tell({ models: [model], replicas: replicas.slice(0, 1) });
  const { predict } = clientOf(address);
  const first = predict(asked);
  await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(1);
  api.tell({ replicas: replicas.slice(1) });
  const held = () => api.reports.at(-1)?.holds.map(({ replica_id: id }) => id);
  await expect.poll(held, soon).toEqual(replicas.map(({ id }) => id));
  await predict(asked);
  expect(held()).toContain(replicas[0]!.id);
  gate.resolve();
  await first;
  await expect.poll(held, soon).toEqual([replicas[1]!.id]);
});

test('while private-api is away, what is known is used', async () => {
  const { api, address } = await startScene();
  const replica = await startReplica(echo);
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  await predict(asked);
  api.goAway();
  for (let n = 0; n < 3; n += 1) await predict(asked);
  api.comeBack();
  const reports = api.reports.length;
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(reports);
});

test('a gateway that stops lets calls end', async () => {
  const { api, address, gateway } = await startScene({ stopGraceMs: 5_000 });
  const gate = deferred();
  const replica = await startReplica(
    (call, done) => void gate.promise.then(() => echo(call, done)),
  );
  api.tell({ models: [model], replicas: readyAt(model, replica.address) });
  const { predict } = clientOf(address);
  const pending = predict(asked);
  await expect.poll(() => api.reports.at(-1)?.holds[0]?.in_flight, soon).toBe(1);
  const closing = gateway.close();
  gate.resolve();
  expect((await pending).equals(outputsOf(asked))).toBe(true);
  await closing;
  expect(api.reports.at(-1)).toMatchObject({ holds: [], leaves: true });
  expect(api.reports.filter(({ leaves }) => leaves === true)).toHaveLength(1);
  expect(await errorOf(predict(asked))).toMatchObject({ code: status.UNAVAILABLE });
});

test('who watches the health of a gateway that stops is told, and holds nothing up', async () => {
  const { api, address, gateway } = await startScene({ stopGraceMs: 10_000 });
  await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
  const { client } = clientOf(address);
  const watch = client.makeServerStreamRequest(
    ...(['/grpc.health.v1.Health/Watch', asIs, asIs, Buffer.alloc(0)] as const),
  );
  const told: number[] = [];
  watch.on('error', () => undefined);
  watch.on('data', (message: Buffer) => told.push(message[1] ?? 0));
  await expect.poll(() => told, soon).toEqual([1]);
  const began = performance.now();
  await gateway.close();
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(told).toEqual([1, 2]);
});
