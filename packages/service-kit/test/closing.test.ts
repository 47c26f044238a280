import { once } from 'node:events';
import { createConnection, type AddressInfo, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { expect, it, onTestFinished } from 'vitest';
import type { RouteContract } from '@inference-server/contracts';
import { rawExchange, waitUntil } from '@inference-server/testing';
import { closeHttpServer, createHttpServer, createLogger, mountRoute } from '../src/index.js';

const contract = {
  operationId: 'held',
  method: 'GET',
  path: '/held',
  tag: 'held',
  summary: 'held',
  success: { kind: 'json', schema: Type.Unknown(), description: '' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
} as const satisfies RouteContract;

const held = 'GET /held HTTP/1.1\r\nHost: x\r\n\r\n';
/** Far beyond what a test takes. */
const graceMs = 20_000;

/** A server whose one route answers when `go` is called; `reached` counts those that wait. */
async function startServer() {
  const app = createHttpServer({ logger: createLogger('test', 'silent') });
  let go: () => void = () => undefined;
  const told = new Promise<void>((resolve) => (go = resolve));
  const { promise: reached, resolve: reach } = deferred();
  mountRoute(app, contract, async () => {
    reach();
    await told;
    return 'answered';
  });
  app.get('/now', () => 'now');
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { app, port, reached, go };
}

function deferred() {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}

async function connectTo(port: number, words = ''): Promise<Socket> {
  const socket = createConnection(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  if (words !== '') {
    socket.write(words);
    await once(socket, 'data');
  }
  return socket.resume();
}

async function untilItStops({ server }: FastifyInstance): Promise<void> {
  expect(await waitUntil(() => !server.listening, { timeoutMs: 5_000, everyMs: 1 })).toBe(true);
}

it('closing cuts connections that are idle at once: kept alive, or opened and never used', async () => {
  const { app, port } = await startServer();
  const kept = await connectTo(port, 'GET /now HTTP/1.1\r\nHost: x\r\n\r\n');
  const silent = await connectTo(port);
  const cut = Promise.all([once(kept, 'close'), once(silent, 'close')]);
  const began = performance.now();
  await closeHttpServer(app, graceMs);
  expect(performance.now() - began).toBeLessThan(3_000);
  await cut;
});

it('closing lets an answer out, as the last one on its connection', async () => {
  const { app, port, reached, go } = await startServer();
  const exchange = rawExchange(port, [held], { expected: 0 });
  await reached;
  const closed = closeHttpServer(app, graceMs);
  await untilItStops(app);
  go();
  expect((await exchange).answers).toMatchObject([{ status: 200, isLast: true }]);
  await closed;
});

it('closing answers a request whose head was on its way with a 503', async () => {
  const { app, port } = await startServer();
  const client = await connectTo(port);
  client.write(held.slice(0, 10));
  // Once it is answered on another connection, the ten bytes have been read.
  await connectTo(port, 'GET /now HTTP/1.1\r\nHost: x\r\n\r\n');
  const closed = closeHttpServer(app, graceMs);
  await untilItStops(app);
  const refused = createConnection(port, '127.0.0.1');
  await expect(once(refused, 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  let heard = '';
  client.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  client.write(held.slice(10));
  await once(client, 'close');
  expect(heard).toMatch(/^HTTP\/1\.1 503 /);
  expect(heard).toMatch(/^connection: close\r$/im);
  expect(heard).toMatch(/^retry-after: \d+\r$/im);
  expect(heard).toContain('"code":"SERVICE_UNAVAILABLE"');
  await closed;
});

it('closing waits for the work on a request that was cut', async () => {
  const { app, port, reached, go } = await startServer();
  const client = await connectTo(port);
  client.write(held);
  await reached;
  const cut = once(client, 'close');
  let isClosed = false;
  const closed = closeHttpServer(app, 100).then(() => (isClosed = true));
  await cut;
  expect(isClosed).toBe(false);
  go();
  await closed;
});
