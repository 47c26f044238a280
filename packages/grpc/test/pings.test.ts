import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import { echo, framed, startServer } from './servers.js';

async function connected(): Promise<ClientHttp2Session> {
  const { address } = await startServer({ '/t.T/Echo': echo });
  const session = connect(`http://${address}`);
  session.on('error', () => undefined);
  onTestFinished(() => session.destroy());
  return session;
}

/** As grpc-go and grpc-java do: with what comes, and one at a time. */
function askWithPing(session: ClientHttp2Session): Promise<{ pings: number; status: unknown }> {
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/t.T/Echo', 'content-type': 'application/grpc' },
  });
  let status: unknown;
  const pongs: Promise<void>[] = [];
  stream.on('error', () => undefined);
  stream.on('trailers', (trailers) => (status = trailers['grpc-status']));
  stream.on('data', () => {
    if (session.destroyed) return;
    pongs.push(new Promise((resolve) => session.ping(() => resolve())));
  });
  stream.end(framed(Buffer.alloc(100)));
  return new Promise((resolve) => {
    stream.once('close', () => {
      void Promise.all(pongs).then(() => resolve({ pings: pongs.length, status }));
    });
  });
}

test('a client that pings with each answer is no flood', async () => {
  const session = await connected();
  let pings = 0;
  const statuses = new Set<unknown>();
  while (pings < 3_000 && !session.destroyed) {
    const some = await Promise.all(Array.from({ length: 8 }, () => askWithPing(session)));
    for (const one of some) {
      pings += one.pings;
      statuses.add(one.status);
    }
  }
  expect([session.destroyed, statuses]).toEqual([false, new Set(['0'])]);
});

test('pings for nothing are, and the client is told to be calm', async () => {
  const session = await connected();
  const said = new Promise((resolve) => session.once('goaway', (code: number) => resolve(code)));
  const ping = () => {
    for (let n = 0; n < 10 && !session.destroyed; n += 1) session.ping(() => undefined);
    if (!session.destroyed) setImmediate(ping);
  };
  session.once('connect', ping);
  expect(await said).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
});
