import { connect, constants } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { createByteBudget, GrpcError, type Method } from '../src/index.js';
import {
  asIs,
  connectTo,
  echo,
  exchange,
  foreignClient,
  framed,
  MiB,
  startServer,
} from './servers.js';

const hello = Buffer.from('hello');

function callForeign(
  address: string,
  path: string,
  message: Buffer,
  options: { deadline?: number; metadata?: Metadata } = {},
): Promise<Buffer> {
  const client = foreignClient(address);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      asIs,
      asIs,
      message,
      options.metadata ?? new Metadata(),
      options.deadline === undefined ? {} : { deadline: Date.now() + options.deadline },
      (error: ServiceError | null, answer?: Buffer) => {
        if (answer === undefined) reject(error ?? new Error('nothing'));
        else resolve(answer);
      },
    );
  });
}

test('clients of another maker are answered: small, empty and large messages', async () => {
  const { address, faults } = await startServer({ '/t.T/Echo': echo });
  for (const message of [hello, Buffer.alloc(0), Buffer.alloc(20 * MiB, 5)]) {
    expect((await callForeign(address, '/t.T/Echo', message)).equals(message)).toBe(true);
  }
  expect(faults).toEqual([]);
});

test('a large answer is written as it comes', async () => {
  const { address } = await startServer({
    '/t.T/Large': () => ({
      unary: async (_message, { open }) => {
        const sink = open(3 * MiB);
        for (let n = 0; n < 3; n += 1) {
          if (!sink.write(Buffer.alloc(MiB, n))) {
            await new Promise<void>((resolve) => sink.once('drain', resolve));
          }
        }
        return { message: null, trailers: { 'x-after': 'all' } };
      },
    }),
  });
  const { message, trailers } = await connectTo(address).call({
    ...{ path: '/t.T/Large', message: [], maxAnswerBytes: 4 * MiB },
  });
  expect([message?.length, message?.[0], message?.at(-1)]).toEqual([3 * MiB, 0, 2]);
  expect(trailers).toEqual({ 'x-after': 'all' });
});

test('what a handler throws is the status; what it did not mean to throw stays here', async () => {
  const trailers = { 'retry-after': '3' };
  const { address, faults } = await startServer({
    '/t.T/Refuse': () => {
      throw new GrpcError('PERMISSION_DENIED', 'nicht für dich, 100 %', { trailers });
    },
    '/t.T/Fault': () => ({ unary: () => Promise.reject(new Error('a secret')) }),
  });
  await expect(callForeign(address, '/t.T/Refuse', hello)).rejects.toMatchObject({
    code: 7,
    details: 'nicht für dich, 100 %',
  });
  await expect(callForeign(address, '/t.T/Fault', hello)).rejects.toMatchObject({
    code: 13,
    details: 'The server failed.',
  });
  expect(faults).toEqual([new Error('a secret')]);
});

test('a call is refused before its message is read', async () => {
  const refuse: Method = () => {
    throw new GrpcError('UNAUTHENTICATED', 'no');
  };
  const { address } = await startServer({ '/t.T/Refuse': refuse });
  const { grpc } = await exchange(address, { ':path': '/t.T/Refuse' }, (stream) => {
    // Of 200 MiB that never come.
    stream.write(Buffer.from([0, 0x0c, 0x80, 0, 0]));
  });
  expect(grpc).toBe('16');
});

test('trailers that cannot be sent end one call, and nothing else', async () => {
  const trailers = { 'keep-alive': '1' };
  const { address, faults } = await startServer({
    '/t.T/Ok': () => ({ unary: async (message) => ({ message: [message], trailers }) }),
    '/t.T/Fail': () => {
      throw new GrpcError('NOT_FOUND', 'none', { trailers });
    },
    '/t.T/Echo': echo,
  });
  for (const path of ['/t.T/Ok', '/t.T/Fail']) {
    await expect(callForeign(address, path, hello)).rejects.toMatchObject({ code: 13 });
  }
  expect(await callForeign(address, '/t.T/Echo', hello)).toEqual(hello);
  expect(faults).toEqual([]);
});

test('the deadline of the caller ends the call, and its handler hears of it', async () => {
  const heard: unknown[] = [];
  const wait: Method = ({ signal }) => ({
    unary: () =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          heard.push((signal.reason as GrpcError).status);
          reject(signal.reason as Error);
        });
      }),
  });
  const { address, faults } = await startServer({ '/t.T/Wait': wait });
  const { grpc } = await exchange(
    address,
    { ':path': '/t.T/Wait', 'grpc-timeout': '50m' },
    framed(hello),
  );
  expect([grpc, heard]).toEqual(['4', ['DEADLINE_EXCEEDED']]);
  const { rst } = await exchange(address, { ':path': '/t.T/Wait' }, (stream) => {
    stream.write(framed(hello));
    setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), 50);
  });
  expect(rst).toBe(constants.NGHTTP2_CANCEL);
  await expect.poll(() => heard).toEqual(['DEADLINE_EXCEEDED', 'CANCELLED']);
  expect(faults).toEqual([]);
});

test.each([
  ['another method of HTTP', { ':method': 'PUT' }, { status: 405 }],
  ['another type', { 'content-type': 'application/json' }, { status: 415 }],
  ['web', { 'content-type': 'application/grpc-web' }, { status: 415 }],
  ['an unknown method', { ':path': '/t.T/None' }, { status: 200, grpc: '12' }],
  ['a time out of form', { 'grpc-timeout': '5 s' }, { status: 200, grpc: '13' }],
  ['an unknown encoding', { 'grpc-encoding': 'br' }, { status: 200, grpc: '12' }],
])('%s is refused', async (_what, headers, expected) => {
  const { address } = await startServer({ '/t.T/Echo': echo });
  expect(await exchange(address, headers, framed(hello))).toMatchObject(expected);
});

test.each([
  ['nothing', Buffer.alloc(0), '13'],
  ['half a prefix', Buffer.from([0, 0]), '13'],
  ['half a message', Buffer.from([0, 0, 0, 0, 9, 1, 2]), '13'],
  ['no prefix', Buffer.from('GET / HTTP/1.1'), '13'],
  ['two messages', Buffer.concat([framed(hello), framed(hello)]), '12'],
  ['too large a message', Buffer.from([0, 255, 255, 255, 255]), '8'],
  ['compressed without a way', framed(hello, 1), '13'],
])('%s is no request', async (_what, body, grpc) => {
  const { address } = await startServer({ '/t.T/Echo': echo });
  expect(await exchange(address, {}, body)).toMatchObject({ status: 200, grpc });
});

test('compressed messages are inflated, within the limits', async () => {
  const { address } = await startServer({ '/t.T/Echo': echo }, { maxMessageBytes: MiB });
  const gzip = { 'grpc-encoding': 'gzip' };
  const good = framed(gzipSync(Buffer.alloc(MiB)), 1);
  expect(await exchange(address, gzip, good)).toMatchObject({ grpc: '0' });
  const bomb = framed(gzipSync(Buffer.alloc(64 * MiB)), 1);
  expect(await exchange(address, gzip, bomb)).toMatchObject({ grpc: '8' });
  expect(await exchange(address, gzip, framed(hello, 1))).toMatchObject({ grpc: '13' });
});

test.each(['unary', 'stream'])(
  'what is inflated counts twice while it is put together: %s',
  async (kind) => {
    const small = createByteBudget(1.9 * MiB);
    const large = createByteBudget(2.1 * MiB);
    const gzip = { 'grpc-encoding': 'gzip' };
    const held: number[] = [];
    for (const budget of [small, large]) {
      const method: Method = () =>
        kind === 'unary'
          ? { unary: async () => (held.push(budget.held), { message: [] }) }
          : {
              stream: async (messages) => {
                for await (const message of messages) held.push(budget.held - message.length);
                return {};
              },
            };
      const { address } = await startServer({ '/t.T/Echo': method }, { budget });
      const grpc = budget === small ? '8' : '0';
      const body = framed(gzipSync(Buffer.alloc(MiB)), 1);
      expect(await exchange(address, gzip, body)).toMatchObject({ grpc });
      await expect.poll(() => budget.held).toBe(0);
    }
    // Once is enough when it is whole.
    expect(held.length).toBe(1);
    expect(held[0]).toBeLessThan(1.1 * MiB);
  },
);

test('messages under way share a budget, which is whole again afterwards', async () => {
  const budget = createByteBudget(3 * MiB);
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const hold: Method = () => ({
    unary: async (message) => {
      await held;
      return { message: [message] };
    },
  });
  const { address } = await startServer({ '/t.T/Hold': hold }, { budget });
  const peer = connectTo(address);
  const message = [Buffer.alloc(2 * MiB)];
  const first = peer.call({ path: '/t.T/Hold', message, maxAnswerBytes: 4 * MiB });
  await expect.poll(() => budget.held).toBe(2 * MiB);
  const second = await peer.call({ path: '/t.T/Hold', message, maxAnswerBytes: 4 * MiB });
  expect(second).toMatchObject({ status: 'RESOURCE_EXHAUSTED', trailers: { 'retry-after': '1' } });
  release();
  expect((await first).status).toBe('OK');
  expect(budget.held).toBe(0);
});

test('an answer counts until its caller has it, or is gone', async () => {
  const budget = createByteBudget(3 * MiB);
  const told: boolean[] = [];
  const large: Method = () => ({
    unary: async (_message, room) => {
      told.push(room.hold(2 * MiB));
      return { message: [Buffer.alloc(2 * MiB)] };
    },
  });
  const { address } = await startServer({ '/t.T/Large': large }, { budget });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  const slow = session.request({
    ...{ ':method': 'POST', ':path': '/t.T/Large', 'content-type': 'application/grpc' },
  });
  slow.end(framed(Buffer.alloc(0)));
  await new Promise((resolve) => slow.once('response', resolve));
  expect([told, budget.held]).toEqual([[true], 2 * MiB]);
  const peer = connectTo(address);
  const ask = () => peer.call({ path: '/t.T/Large', message: [], maxAnswerBytes: 4 * MiB });
  expect((await ask()).status).toBe('OK');
  expect([told, budget.held]).toEqual([[true, false], 2 * MiB]);
  slow.close(constants.NGHTTP2_CANCEL);
  await expect.poll(() => budget.held).toBe(0);
  expect((await ask()).status).toBe('OK');
  expect(told).toEqual([true, false, true]);
  await expect.poll(() => budget.held).toBe(0);
});

test('a message that comes too slowly is cut', async () => {
  const { address } = await startServer(
    { '/t.T/Echo': echo },
    { pace: { minBytes: 1_000, windowMs: 300 } },
  );
  const { grpc, text } = await exchange(address, {}, (stream) => {
    stream.write(Buffer.from([0, 0, 0, 255, 0]));
    const drip = setInterval(() => stream.write('a'), 20);
    stream.once('close', () => clearInterval(drip));
  });
  expect([grpc, text]).toEqual(['1', expect.stringContaining('less than 1000 bytes')]);
});

test('who resets calls without end is sent away', async () => {
  const { address, port } = await startServer({ '/t.T/Echo': echo });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => session.once('close', () => resolve()));
  const reset = () => {
    for (let n = 0; n < 50 && !session.closed && !session.destroyed; n += 1) {
      const stream = session.request({ ':method': 'POST', ':path': '/t.T/Echo' });
      stream.on('error', () => undefined);
      stream.close(constants.NGHTTP2_CANCEL);
    }
    if (!session.closed && !session.destroyed) setImmediate(reset);
  };
  reset();
  await closed;
  const answer = await connectTo(`127.0.0.1:${port}`).call({
    ...{ path: '/t.T/Echo', message: [hello], maxAnswerBytes: MiB },
  });
  expect(answer.status).toBe('OK');
});

test('a server that stops lets calls end, takes no new ones, and cuts what lasts', async () => {
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const { address, server } = await startServer({
    '/t.T/Hold': () => ({
      unary: async () => {
        await held;
        return { message: [hello] };
      },
    }),
    '/t.T/Never': () => ({ unary: () => new Promise(() => undefined) }),
  });
  const peer = connectTo(address);
  const ask = (path: string) => peer.call({ path, message: [hello], maxAnswerBytes: MiB });
  const first = ask('/t.T/Hold');
  const never = ask('/t.T/Never');
  await expect.poll(() => peer).toBeDefined();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const closing = server.close(1_000);
  release();
  expect((await first).status).toBe('OK');
  expect(await never).toMatchObject({
    status: 'UNAVAILABLE',
    statusMessage: 'The server is stopping.',
  });
  await closing;
  await expect(ask('/t.T/Hold')).rejects.toMatchObject({ neverTaken: true });
});

test('who watches, and who is open to all and says nothing, holds no stop up', async () => {
  const watch: Method = (head) => ({
    isOpen: true,
    stream: async (messages) => {
      for await (const message of messages) expect(message).toEqual(hello);
      return head.signal.aborted ? {} : { trailers: {} };
    },
  });
  const { address, server } = await startServer({ '/t.T/Watch': watch });
  const answered = exchange(address, { ':path': '/t.T/Watch' }, (stream) => {
    stream.write(framed(hello));
  });
  const silent = exchange(address, { ':path': '/t.T/Watch' }, () => undefined);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const began = performance.now();
  await server.close(20_000);
  expect(performance.now() - began).toBeLessThan(5_000);
  expect([(await answered).grpc, (await silent).grpc]).toEqual(['14', '14']);
});
