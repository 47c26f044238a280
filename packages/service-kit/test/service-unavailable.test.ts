import { request, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { createHttpServer } from '../src/index.js';

const app = createHttpServer({ logger: pino({ level: 'silent' }) });
let port: number;
beforeAll(async () => {
  const away = () => {
    throw new AppError('SERVICE_UNAVAILABLE', 'The database is away.');
  };
  app.get('/away', away);
  app.get('/conflict', () => {
    throw new AppError('CONFLICT', 'No.');
  });
  app.addContentTypeParser('application/zip', (_request, payload, done) => done(null, payload));
  app.post('/away', away);
  await app.listen({ port: 0, host: '127.0.0.1' });
  ({ port } = app.server.address() as AddressInfo);
});
afterAll(() => app.close());

it('ends the connection of whoever is told 503, who may reach another process then', async () => {
  expect(await connectionAfter('GET', '/away')).toBe('close');
  expect(await connectionAfter('GET', '/conflict')).toBe('keep-alive');
});

it('keeps that of whoever still sends, who would not read why', async () => {
  expect(await connectionAfter('POST', '/away', { 'content-length': '100' })).toBe('keep-alive');
});

/** Without a body, also where one is announced. */
async function connectionAfter(
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<string | undefined> {
  const type = { 'content-type': 'application/zip' };
  const call = request({
    port,
    method,
    path,
    headers: { ...(method === 'POST' && type), ...headers },
  });
  call.on('error', () => undefined);
  if (method === 'GET') call.end();
  else call.flushHeaders();
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  call.destroy();
  return response.headers.connection;
}
