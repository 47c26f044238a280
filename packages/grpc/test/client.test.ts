import { constants, createServer } from 'node:http2';
import { once } from 'node:events';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Metadata, status } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '@inference-server/testing';
import { GrpcError, PeerError } from '../src/index.js';
import { bareServer, connectTo, foreignServer, MiB } from './servers.js';

const head = { ':status': 200, 'content-type': 'application/grpc' };
const hello = Buffer.from('hello');
const call = (path: string) => ({ path, message: [hello], maxAnswerBytes: 128 * MiB });
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail('it was answered'),
    (error: unknown) => error,
  );

test('a server of another maker is called: small, empty and large messages', async () => {
  const address = await foreignServer({ Echo: ({ request }, done) => done(null, request) });
  const peer = connectTo(address);
  const large = Buffer.alloc(20 * MiB, 7);
  for (const message of [[hello], [], [Buffer.alloc(0)], [hello, hello], [large]]) {
    const answer = await peer.call({ ...call('/t.T/Echo'), message });
    expect(answer.status).toBe('OK');
    expect(answer.message?.equals(Buffer.concat(message))).toBe(true);
  }
});

test('many calls at once share a connection', async () => {
  const address = await foreignServer({ Echo: ({ request }, done) => done(null, request) });
  const peer = connectTo(address);
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, n) =>
      peer.call({ ...call('/t.T/Echo'), message: [Buffer.from(String(n))] }),
    ),
  );
  expect(answers.map(({ message }) => Number(message))).toEqual(answers.map((_, n) => n));
});

test("the peer's own status, text and trailers come as they are", async () => {
  const trailers = new Metadata();
  trailers.set('x-reason', 'because');
  const address = await foreignServer({
    Fail: (_call, done) =>
      done({ code: status.FAILED_PRECONDITION, details: 'für 100 %\n', metadata: trailers }),
  });
  expect(await connectTo(address).call(call('/t.T/Fail'))).toMatchObject({
    status: 'FAILED_PRECONDITION',
    statusMessage: 'für 100 %\n',
    trailers: { 'x-reason': 'because' },
    message: undefined,
  });
  expect((await connectTo(address).call(call('/t.T/None'))).status).toBe('UNIMPLEMENTED');
});

test('an answer may be taken as it comes, as slowly as it is wanted', async () => {
  const large = Buffer.alloc(8 * MiB, 9);
  const address = await foreignServer({ Large: (_call, done) => done(null, large) });
  let [bytes, waits] = [0, 0];
  const answer = await connectTo(address).call({
    ...call('/t.T/Large'),
    sinkFor: (messageBytes) => {
      expect(messageBytes).toBe(large.length);
      return {
        write: (chunk) => ((bytes += chunk.length), false),
        once: (_event, onDrain) => {
          waits += 1;
          setImmediate(onDrain);
        },
      };
    },
  });
  expect(answer).toMatchObject({ status: 'OK', message: undefined });
  expect([bytes, waits > 10]).toEqual([large.length, true]);
});

test('the deadline goes along with what else is said, and ends the call here too', async () => {
  let told: unknown;
  let key: unknown;
  let cancelled!: () => void;
  const wasCancelled = new Promise<void>((resolve) => (cancelled = resolve));
  const address = await bareServer((stream, _server, headers) => {
    told = headers['grpc-timeout'];
    key = headers['x-key'];
    stream.on('close', () => cancelled());
  });
  const began = performance.now();
  const error = await errorOf(
    connectTo(address).call({
      ...call('/t.T/Silent'),
      ...{ deadlineAt: began + 150, metadata: { 'x-key': 'ÿ' } },
    }),
  );
  expect(error).toMatchObject({ status: 'DEADLINE_EXCEEDED' });
  expect(performance.now() - began).toBeGreaterThan(140);
  await wasCancelled;
  expect(told).toMatch(/^1[0-9]{5}u$/);
  expect(key).toBe('ÿ');
});

test('a cancelled call is cancelled at the peer', async () => {
  const codes: number[] = [];
  let isOver!: () => void;
  const over = new Promise<void>((resolve) => (isOver = resolve));
  const end = new AbortController();
  const address = await bareServer((stream) => {
    stream.on('close', () => {
      codes.push(stream.rstCode);
      isOver();
    });
    end.abort(new Error('enough'));
  });
  const error = await errorOf(
    connectTo(address).call({ ...call('/t.T/Silent'), signal: end.signal }),
  );
  expect(error).toEqual(new Error('enough'));
  await over;
  expect(codes).toEqual([constants.NGHTTP2_CANCEL]);
});

test('nobody took the call where nobody listens, or who listens refuses it', async () => {
  const nobody = connectTo(`127.0.0.1:${await freePort()}`);
  const refused = await errorOf(nobody.call(call('/t.T/Any')));
  expect(refused).toBeInstanceOf(PeerError);
  expect(refused).toMatchObject({ status: 'UNAVAILABLE', neverTaken: true });
  expect((refused as GrpcError).message).toContain('ECONNREFUSED');

  const address = await bareServer((stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM));
  expect(await errorOf(connectTo(address).call(call('/t.T/Any')))).toMatchObject({
    neverTaken: true,
  });
});

test('a peer that goes away in the middle may have taken the call', async () => {
  const address = await bareServer((stream) => stream.session?.destroy());
  expect(await errorOf(connectTo(address).call(call('/t.T/Any')))).toMatchObject({
    status: 'UNAVAILABLE',
    neverTaken: false,
  });
});

test('a peer that is sent away takes later calls on a new connection', async () => {
  let seen = 0;
  const address = await bareServer((stream) => {
    seen += 1;
    stream.respond({ ...head, 'grpc-status': '7' }, { endStream: true });
    stream.session?.goaway(0, stream.id ?? 0);
  });
  const peer = connectTo(address);
  for (let n = 1; n <= 3; n += 1) {
    expect((await peer.call(call('/t.T/Any'))).status).toBe('PERMISSION_DENIED');
    expect(seen).toBe(n);
  }
});

test('a call beyond the last that a peer took, as it says, is made again', async () => {
  const seen: number[] = [];
  const address = await bareServer((stream) => {
    const id = stream.id ?? 0;
    seen.push(id);
    if (id === 1) stream.respond({ ...head, 'grpc-status': '7' }, { endStream: true });
    else stream.session?.goaway(constants.NGHTTP2_INTERNAL_ERROR, 1);
  });
  const peer = connectTo(address);
  for (const expected of [[1], [1, 3, 1]]) {
    expect((await peer.call(call('/t.T/Any'))).status).toBe('PERMISSION_DENIED');
    expect(seen).toEqual(expected);
  }
});

/** A server that takes a call and computes for it in its only thread, for ever; few others may wait meanwhile. */
async function busyServer(): Promise<{ address: string; busy: Promise<unknown> }> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
    const server = require('node:http2').createServer();
    server.on('stream', () => {
      parentPort.postMessage('busy');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
      parentPort.postMessage('127.0.0.1:' + server.address().port);
    });`,
    { eval: true },
  );
  onTestFinished(async () => void (await worker.terminate()));
  const [address] = (await once(worker, 'message')) as [string];
  return { address, busy: once(worker, 'message') };
}

test('a peer that only computes is not given up, however often it is looked for', async () => {
  const { address, busy } = await busyServer();
  const peer = connectTo(address);
  let error: unknown;
  void errorOf(peer.call(call('/t.T/Any'))).then((thrown) => (error = thrown));
  await busy;
  for (let n = 0; n < 6; n += 1) {
    peer.probe(300);
    await sleep(400);
  }
  expect(error).toBeUndefined();
});

test('a peer whose host answers nobody is given up', async () => {
  const { address, busy } = await busyServer();
  const peer = connectTo(address);
  let error: unknown;
  const pending = errorOf(peer.call(call('/t.T/Any'))).then((thrown) => (error = thrown));
  await busy;
  // The system takes no more connections for it: whoever knocks hears nothing.
  const { port } = new URL(`http://${address}`);
  for (let n = 0; n < 8; n += 1) {
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => undefined);
    onTestFinished(() => void socket.destroy());
  }
  await sleep(200);
  peer.probe(300);
  await expect.poll(() => error).toMatchObject({ status: 'UNAVAILABLE', neverTaken: false });
  await pending;
});

test('a peer is looked for by one connection, while it has calls', async () => {
  const sockets: Socket[] = [];
  const address = await bareServer((stream, server, headers) => {
    if (headers[':path'] !== '/t.T/Any') return;
    server.on('connection', (socket: Socket) => sockets.push(socket));
    stream.respond({ ...head, 'grpc-status': '7' }, { endStream: true });
  });
  const peer = connectTo(address);
  expect((await peer.call(call('/t.T/Any'))).status).toBe('PERMISSION_DENIED');
  peer.probe(5_000);
  const end = new AbortController();
  const pending = errorOf(peer.call({ ...call('/t.T/Silent'), signal: end.signal }));
  peer.probe(5_000);
  await expect.poll(() => sockets.length).toBe(1);
  peer.probe(5_000);
  // The peer may send it away; it is looked for again.
  sockets[0]?.destroy();
  await expect.poll(() => (peer.probe(5_000), sockets.length)).toBe(2);
  end.abort(new Error('enough'));
  expect(await pending).toEqual(new Error('enough'));
  await expect.poll(() => (peer.probe(5_000), sockets[1]?.destroyed)).toBe(true);
  expect(sockets.length).toBe(2);
});

test.each([0, 100, 65_536])('a peer that keeps %s bytes of headers', async (headerTableSize) => {
  const server = createServer({ settings: { headerTableSize } });
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream) => {
    stream.respond({ ...head, 'grpc-status': '7', 'x-long': 'y'.repeat(90) }, { endStream: true });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const peer = connectTo(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  for (let n = 0; n < 4; n += 1) {
    const deadlineAt = performance.now() + 5_000;
    expect((await peer.call({ ...call('/t.T/Any'), deadlineAt })).status).toBe('PERMISSION_DENIED');
  }
});

test.each([
  ['HTTP that is no gRPC', { ':status': 503 }, undefined, 'UNAVAILABLE'],
  ['OK without a message', { ...head, 'grpc-status': '0' }, undefined, 'INTERNAL'],
  ['half a message', head, Buffer.from([0, 0, 0, 0, 9, 1]), 'INTERNAL'],
  ['no prefix', head, Buffer.from([9, 0, 0, 0, 0]), 'INTERNAL'],
  ['a compressed message', head, Buffer.from([1, 0, 0, 0, 0]), 'INTERNAL'],
  ['two messages', head, Buffer.alloc(10), 'INTERNAL'],
  ['too large a message', head, Buffer.from([0, 255, 0, 0, 0]), 'RESOURCE_EXHAUSTED'],
])('%s is no answer', async (_what, headers, body, expected) => {
  const address = await bareServer((stream) => {
    stream.respond(headers, { waitForTrailers: body !== undefined });
    stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(body);
  });
  const error = await errorOf(connectTo(address).call(call('/t.T/Any')));
  expect(error).toBeInstanceOf(GrpcError);
  expect(error).toMatchObject({ status: expected });
});
