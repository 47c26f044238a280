import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { Agent } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { closeHttpServer, createHttpServer, createLogger } from '@inference-server/service-kit';
import { waitUntil } from '@inference-server/testing';
import { relayRoutes } from '../src/plugins/relay.js';
import { deferred, startUpstream, uid } from './servers.js';

const stalledMs = 500;

test('a caller that stops reading is cut, and private-api with it', async () => {
  const freed = deferred<boolean>();
  const upstream = await startUpstream((_request, response) => {
    response.on('close', () => freed.resolve(response.writableFinished));
    response.writeHead(200, { 'content-length': 1024 ** 3 });
    Readable.from(endless()).pipe(response);
  });
  const app = createHttpServer({ logger: createLogger('public-api', 'silent') });
  const agent = new Agent();
  app.addHook('onClose', () => agent.destroy());
  app.addHook('onRequest', async (request) => {
    request.caller = { owner: 'a', role: 'submit', credential: 'a', address: '127.0.0.1' };
  });
  await relayRoutes(app, {
    privateApiUrl: upstream.url,
    privateApiToken: 'the-token',
    gateway: undefined,
    maxUploadBytes: 1000,
    maxJsonBytes: 1000,
    upstream: agent,
    stopping: new AbortController().signal,
    stalledMs,
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => closeHttpServer(app, 1_000));

  const caller = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  caller.on('error', () => undefined);
  onTestFinished(() => void caller.destroy());
  caller.write(`GET /api/tasks/${uid} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await once(caller, 'data');
  caller.pause();

  expect(await freed.promise).toBe(false);
  const connections = () =>
    new Promise<number>((resolve) => {
      app.server.getConnections((_error, count) => resolve(count));
    });
  expect(await waitUntil(async () => (await connections()) === 0, { timeoutMs: 5_000 })).toBe(true);
});

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(1024 ** 2);
}
