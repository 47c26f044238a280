import { connect, type AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import Type from 'typebox';
import { expect, it, onTestFinished } from 'vitest';
import type { RouteContract } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import { abortedByClient, createHttpServer, mountRoute } from '../src/index.js';

const contract = {
  operationId: 'held',
  method: 'GET',
  path: '/held',
  tag: 'probe',
  summary: 'held',
  success: { kind: 'json', schema: Type.Unknown(), description: '' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
} as const satisfies RouteContract;

it('a client that goes away is no fault of the server', async () => {
  const logged: string[] = [];
  const destination = new Writable({
    write(line: Buffer, _encoding, done) {
      logged.push(line.toString());
      done();
    },
  });
  const app = createHttpServer({ logger: pino({ level: 'info' }, destination) });
  onTestFinished(() => app.close());
  let thrown: unknown;
  mountRoute(app, contract, async (_request, reply) => {
    const signal = abortedByClient(reply);
    socket.resetAndDestroy();
    await waitUntil(() => signal.aborted, { timeoutMs: 5_000 });
    thrown = signal.reason;
    throw thrown;
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n');
  expect(await waitUntil(() => thrown !== undefined, { timeoutMs: 5_000 })).toBe(true);
  await app.close();
  expect(thrown).toMatchObject({ code: 'MALFORMED_REQUEST' });
  expect(logged.filter((line) => line.includes('"level":50'))).toEqual([]);
});
