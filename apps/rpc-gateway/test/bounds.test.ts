import { connect, type ClientHttp2Stream } from 'node:http2';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { callerHeader, writeCaller } from '@inference-server/contracts';
import { createByteBudget } from '@inference-server/grpc';
import { predictRequestFromJson } from '@inference-server/protos';
import { createHttpServer, createLogger } from '@inference-server/service-kit';
import type { Predictor } from '../src/core/predictor.js';
import { mountPredict } from '../src/doors/http/predict.js';
import { keyOf, modelOf, tokens } from './private-api.js';
import {
  clientOf,
  deferred,
  doubles,
  echo,
  readyAt,
  requestOf,
  soon,
  startReplica,
  startScene,
} from './scene.js';

const model = modelOf(1);
const key = keyOf('a');
const asked = requestOf({ x: doubles(1) });

describe('a key that opens nothing', () => {
  async function startGuessing(options: Parameters<typeof startScene>[0]) {
    const { api, address } = await startScene({ anonymousRole: 'none', ...options });
    api.callers.set(key, {});
    const replica = await startReplica(echo);
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    const client = clientOf(address);
    return (shown: string, from: string) =>
      client.predict(asked, { key: shown, metadata: { 'x-forwarded-for': from } }).then(
        () => 0,
        (error: unknown) => (error as { code: number }).code,
      );
  }
  const { UNAUTHENTICATED, RESOURCE_EXHAUSTED } = status;

  test('makes its address wait when there are too many; what has opened lately opens', async () => {
    const guess = await startGuessing({ refusalsPerAddress: 2 });
    expect(await guess(key, '203.0.113.1')).toBe(0);
    const codes = [];
    for (const letter of ['b', 'c', 'd']) codes.push(await guess(keyOf(letter), '203.0.113.1'));
    expect(codes).toEqual([UNAUTHENTICATED, UNAUTHENTICATED, RESOURCE_EXHAUSTED]);
    expect(await guess(key, '203.0.113.1')).toBe(0);
    expect(await guess(keyOf('d'), '203.0.113.2')).toBe(UNAUTHENTICATED);
  });

  test.each([
    ['where the setting is 0', { refusalsPerAddress: 0 }],
    ['from this machine', { refusalsPerAddress: 1, trustedProxies: [] }],
  ])('is not counted %s', async (_where, options) => {
    const guess = await startGuessing(options);
    for (const letter of ['b', 'c', 'd']) {
      expect(await guess(keyOf(letter), '203.0.113.1')).toBe(UNAUTHENTICATED);
    }
  });
});

describe('while a message comes', () => {
  /** A call whose message never ends, and the status that it gets. */
  function sendWithoutEnd(address: string): { stream: ClientHttp2Stream; code: Promise<number> } {
    const session = connect(`http://${address}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/tensorflow.serving.PredictionService/Predict' },
      ...{ 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${key}` },
    });
    stream.on('error', () => undefined);
    // Of 200 MiB.
    stream.write(Buffer.from([0, 0x0c, 0x80, 0, 0]));
    const code = once(stream, 'response').then(([headers]) =>
      Number((headers as Record<string, unknown>)['grpc-status']),
    );
    return { stream, code };
  }

  test('a call ends within a second when its key is revoked', async () => {
    const { api, address } = await startScene({ anonymousRole: 'none' });
    api.callers.set(key, {});
    api.tell({ models: [model] });
    const { stream, code } = sendWithoutEnd(address);
    const sending = setInterval(() => stream.write(Buffer.alloc(10_000)), 20);
    stream.once('close', () => clearInterval(sending));
    // That much may come once it was let in.
    await expect.poll(() => stream.session?.state.remoteWindowSize).toBeGreaterThan(1_000_000);
    api.callers.clear();
    const began = performance.now();
    expect(await code).toBe(status.UNAUTHENTICATED);
    expect(performance.now() - began).toBeLessThan(1_500);
  });

  test('the time of a call is already running', async () => {
    const { api, address } = await startScene({ anonymousRole: 'none', maxCallMs: 300 });
    api.callers.set(key, {});
    expect(await sendWithoutEnd(address).code).toBe(status.DEADLINE_EXCEEDED);
  });
});

const caller = writeCaller({
  ...{ owner: 'key:a', role: 'submit', credential: 'key:a', address: '10.0.0.1' },
});
const headers = {
  authorization: `Bearer ${tokens.relay}`,
  [callerHeader]: caller,
  'content-type': 'application/json',
};

/** A request as JSON of which `body` comes, and no end where it is not said. */
function post(url: string, body: string, isWhole: boolean) {
  const request = httpRequest(url, { method: 'POST', headers });
  onTestFinished(() => void request.destroy());
  request.on('error', () => undefined);
  request.write(body);
  if (isWhole) request.end();
  const statusCode = once(request, 'response').then(([response]) => {
    (response as IncomingMessage).resume();
    return (response as IncomingMessage).statusCode;
  });
  statusCode.catch(() => undefined);
  return { request, statusCode };
}

describe('as JSON', () => {
  test('the time of a call is already running while its body comes', async () => {
    const { httpUrl } = await startScene({ maxCallMs: 300 });
    const url = `${httpUrl}/api/models/echo/predict`;
    expect(await post(url, '{"x":', false).statusCode).toBe(504);
  });

  test('a body that does not say its length takes what has come of it', async () => {
    const { api, httpUrl } = await startScene({ maxQueuedBytes: 30_000 });
    const gate = deferred();
    const replica = await startReplica(
      (call, done) => void gate.promise.then(() => echo(call, done)),
    );
    api.tell({ models: [model], replicas: readyAt(model, replica.address) });
    await expect.poll(() => api.reports.length, soon).toBeGreaterThan(1);
    const url = `${httpUrl}/api/models/echo/predict`;
    const large = `{"x": [${' '.repeat(6_000)}1]}`;
    const first = post(url, large, true);
    await expect.poll(() => api.reports.at(-1)?.demand[0]?.in_flight, soon).toBe(1);
    expect(await post(url, large, true).statusCode).toBe(429);
    // That would not fit if it were alone either: there is no use in coming again.
    expect(await post(url, `{"x": [${' '.repeat(12_000)}1]}`, true).statusCode).toBe(413);
    gate.resolve();
    expect(await first.statusCode).toBe(200);
    expect(await post(url, '{"x": [1]}', true).statusCode).toBe(200);
  });

  test('what a request takes is given back, whenever its caller goes', async () => {
    const [budget, maxQueuedBytes] = [createByteBudget(1_000_000), 1_000_000];
    const signals: AbortSignal[] = [];
    const predictor = {
      modelFor: () => Promise.resolve(model),
      predict: ({ signal }: { signal: AbortSignal }) => {
        signals.push(signal);
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        });
      },
    } as unknown as Predictor;
    const app = createHttpServer({ logger: createLogger('rpc-gateway', 'silent') });
    let isLate = false;
    let seen = 0;
    app.addHook('onRequest', async ({ raw }) => {
      seen += 1;
      if (isLate) await new Promise((resolve) => raw.socket.once('close', resolve));
    });
    const limits = { maxQueuedBytes, maxJsonBytes: 10_000, maxCallMs: 60_000 };
    mountPredict(app, { predictor, relayToken: tokens.relay, budget, ...limits });
    await app.listen({ host: '127.0.0.1', port: 0 });
    onTestFinished(() => app.close());
    const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/api/models/echo/predict`;

    const smallBytes = predictRequestFromJson(model.contract, '{"x": [1]}').length;
    const within = post(url, '{"x": [1', false);
    await expect.poll(() => budget.held).toBe(3 * 8);
    within.request.destroy();
    await expect.poll(() => budget.held).toBe(0);

    const waiting = post(url, '{"x": [1]}', true);
    await expect.poll(() => signals.length).toBe(1);
    expect(budget.held).toBe(Math.max(3 * 10, 10 + smallBytes));
    waiting.request.destroy();
    await expect.poll(() => budget.held).toBe(0);
    expect(signals[0]?.aborted).toBe(true);

    // Its tensor is several times as large as the text.
    const body = `{"x": [${'1,'.repeat(999)}1]}`;
    const grown = post(url, body, true);
    await expect.poll(() => signals.length).toBe(2);
    const { length } = predictRequestFromJson(model.contract, body);
    expect(length).toBeGreaterThan(2 * body.length);
    expect(budget.held).toBe(body.length + length);
    grown.request.destroy();
    await expect.poll(() => budget.held).toBe(0);

    isLate = true;
    const early = post(url, '{"x": [1]}', true);
    await expect.poll(() => seen).toBe(4);
    early.request.destroy();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect([budget.held, signals.length]).toEqual([0, 2]);
  });
});
