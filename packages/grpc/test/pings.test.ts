import { once } from 'node:events';
import {
  connect,
  constants,
  createServer,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
} from 'node:http2';
import { connect as connectTcp, type AddressInfo } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { guardSession } from '../src/server/session-guard.js';
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
  stream.on('trailers', (trailers: IncomingHttpHeaders) => (status = trailers['grpc-status']));
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

/** A server whose connections are guarded, as if they always had calls; the timers are the test's. */
async function guardedServer(): Promise<{ port: number; session: Promise<ServerHttp2Session> }> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const server = createServer();
  const session = new Promise<ServerHttp2Session>((resolve) => {
    server.once('session', (one) => {
      guardSession(one, () => true);
      one.once('remoteSettings', () => resolve(one));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, session };
}

test('a connection that answers pings stays, and nothing is left behind by any of them', async () => {
  const { port, session: came } = await guardedServer();
  const client = connect(`http://127.0.0.1:${port}`);
  onTestFinished(() => client.destroy());
  const session = await came;
  const listeners = session.listenerCount('close');
  for (let n = 0; n < 12; n += 1) {
    const pinged = new Promise((resolve) => client.once('ping', resolve));
    vi.advanceTimersByTime(30_000);
    await pinged;
    // Behind a ping of the client's own, what it answered has been read.
    await new Promise((resolve) => client.ping(resolve));
    expect(session.destroyed).toBe(false);
  }
  expect(session.listenerCount('close')).toBe(listeners);
});

test('a connection that answers none is closed', async () => {
  const { port, session: came } = await guardedServer();
  const socket = connectTcp(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  // Its greeting with no settings in it, and never a word again.
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  const session = await came;
  vi.advanceTimersByTime(30_000);
  expect(session.destroyed).toBe(false);
  vi.advanceTimersByTime(20_000);
  expect(session.destroyed).toBe(true);
});
