import { connect, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import type { Method } from '../src/index.js';
import { framed, MiB, startServer } from './servers.js';

/** A call for 4 MiB, of a connection that takes little ahead. */
async function askForMuch(windowMs: number): Promise<ClientHttp2Stream> {
  const large: Method = () => ({ unary: async () => ({ message: [Buffer.alloc(4 * MiB)] }) });
  const pace = { minBytes: 1, windowMs };
  const { address } = await startServer({ '/t.T/Large': large }, { pace });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/t.T/Large', 'content-type': 'application/grpc' },
  });
  stream.on('error', () => undefined);
  stream.end(framed(Buffer.alloc(0)));
  return stream;
}

test('who takes a large answer steadily gets all of it, however long it takes', async () => {
  const windowMs = 600;
  const stream = await askForMuch(windowMs);
  const began = performance.now();
  let status: unknown;
  let bytes = 0;
  stream.on('trailers', (trailers: IncomingHttpHeaders) => (status = trailers['grpc-status']));
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    stream.pause();
    setTimeout(() => stream.resume(), 8);
  });
  await new Promise((resolve) => stream.once('close', resolve));
  expect([status, bytes]).toEqual(['0', 4 * MiB + 5]);
  expect(performance.now() - began).toBeGreaterThan(2 * windowMs);
});

test('who takes nothing of it is cut', async () => {
  const stream = await askForMuch(300);
  stream.pause();
  await new Promise((resolve) => stream.once('close', resolve));
  expect(stream.rstCode).toBe(8);
});

test('who has sent part of a message is not judged while nothing of it is read', async () => {
  let goOn = () => {};
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const slow: Method = () => ({
    stream: async (messages, write) => {
      for await (const message of messages) {
        await gate;
        await write([message]);
      }
      return {};
    },
  });
  const pace = { minBytes: 1_024, windowMs: 300 };
  const { address } = await startServer({ '/t.T/Slow': slow }, { pace });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/t.T/Slow', 'content-type': 'application/grpc' },
  });
  const second = framed(Buffer.alloc(10_000));
  stream.write(Buffer.concat([framed(Buffer.from('first')), second.subarray(0, 100)]));
  let status: unknown;
  stream.on('trailers', (trailers: IncomingHttpHeaders) => (status = trailers['grpc-status']));
  setTimeout(() => {
    goOn();
    stream.end(second.subarray(100));
  }, 1_200);
  const bytes = Buffer.concat(await stream.toArray()).length;
  expect([status, bytes]).toEqual(['0', 5 + 5 + second.length]);
});
