import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Method } from '../src/index.js';
import { frame, literal, settings } from './raw-server.js';
import { framed, startServer } from './servers.js';

test('a client that neither reads nor hangs up keeps no server from closing', async () => {
  let isAsked = () => {};
  const asked = new Promise<void>((resolve) => (isAsked = resolve));
  const endless: Method = () => ({
    stream: async (messages, write) => {
      for await (const message of messages) {
        isAsked();
        for (;;) await write([message]);
      }
      return {};
    },
  });
  const { port, server } = await startServer({ '/t.T/Endless': endless });
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => undefined);
  const head = Buffer.concat([
    Buffer.from([0x83, 0x86]),
    literal(':path', '/t.T/Endless'),
    literal(':authority', 'localhost'),
    literal('content-type', 'application/grpc'),
  ]);
  const message = framed(Buffer.alloc(10_000));
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(Buffer.concat([settings(), frame(1, 4, 1, head), frame(0, 0, 1, message)]));
  await asked;
  const began = performance.now();
  await server.close(100);
  expect(performance.now() - began).toBeLessThan(5_000);
});
