import { once } from 'node:events';
import { connect, constants, type IncomingHttpHeaders } from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import { createByteBudget, GrpcError, type CallHead, type Method } from '../src/index.js';
import { echo, exchange, framed, MiB, startServer } from './servers.js';

/** The prefix of a message of 200 MiB. */
const prefix = Buffer.from([0, 0x0c, 0x80, 0, 0]);

/** The call that has come, when it has. */
function caught(method: Method): { method: Method; head: Promise<CallHead> } {
  let came!: (head: CallHead) => void;
  const head = new Promise<CallHead>((resolve) => (came = resolve));
  return { head, method: (one) => (came(one), method(one)) };
}

test('a message takes of the budget what has come of it, and no more', async () => {
  const budget = createByteBudget(300 * MiB);
  const { method, head } = caught(echo);
  const { address } = await startServer({ '/t.T/Echo': method }, { budget });
  const answered = exchange(address, {}, (stream) => {
    stream.write(Buffer.concat([prefix, Buffer.alloc(1_000)]));
  });
  const call = await head;
  await expect.poll(() => budget.held).toBe(1_000);
  call.cut(new GrpcError('ABORTED', 'enough'));
  expect((await answered).grpc).toBe('10');
  await expect.poll(() => budget.held).toBe(0);
});

test('a message is refused where the budget ends', async () => {
  const budget = createByteBudget(MiB);
  const { address } = await startServer({ '/t.T/Echo': echo }, { budget });
  expect(await exchange(address, {}, framed(Buffer.alloc(2 * MiB)))).toMatchObject({ grpc: '8' });
  await expect.poll(() => budget.held).toBe(0);
});

test('who is not let in takes nothing of the budget', async () => {
  const budget = createByteBudget(MiB);
  let refuse!: (error: Error) => void;
  const { method, head } = caught(() => new Promise((_resolve, reject) => (refuse = reject)));
  const { address } = await startServer({ '/t.T/Echo': method }, { budget });
  const answered = exchange(address, {}, (stream) => {
    stream.write(Buffer.concat([prefix, Buffer.alloc(MiB)]));
  });
  await head;
  expect(budget.held).toBe(0);
  refuse(new GrpcError('UNAUTHENTICATED', 'no'));
  expect((await answered).grpc).toBe('16');
});

test('what is open to everybody takes small messages, and needs no budget', async () => {
  const open: Method = () => ({ isOpen: true, unary: async (message) => ({ message: [message] }) });
  const { address } = await startServer(
    { '/t.T/Open': open, '/t.T/Echo': echo },
    { budget: createByteBudget(0) },
  );
  const hello = framed(Buffer.from('hello'));
  expect(await exchange(address, {}, hello)).toMatchObject({ grpc: '8' });
  const path = { ':path': '/t.T/Open' };
  expect(await exchange(address, path, hello)).toMatchObject({ grpc: '0' });
  const larger = framed(Buffer.alloc(5_000));
  expect(await exchange(address, path, larger)).toMatchObject({ grpc: '8' });
});

test('a method can end a call while its message comes, and hears of every end once', async () => {
  let ends = 0;
  const { method, head } = caught(() => ({
    unary: async (message) => ({ message: [message] }),
    end: () => (ends += 1),
  }));
  const { address, faults } = await startServer({ '/t.T/Echo': method });
  const answered = exchange(address, {}, (stream) => stream.write(prefix));
  (await head).cut(new GrpcError('UNAUTHENTICATED', 'no more'));
  expect(await answered).toMatchObject({ grpc: '16', text: 'no more' });
  expect(ends).toBe(1);
  expect(await exchange(address, {}, framed(Buffer.alloc(9)))).toMatchObject({ grpc: '0' });
  expect(await exchange(address, {}, Buffer.from([7]))).toMatchObject({ grpc: '13' });
  expect([ends, faults]).toEqual([3, []]);
});

test('what comes of calls that wait to be let in is bounded, of each and of all', async () => {
  let waiting = 0;
  const never: Method = () => {
    waiting += 1;
    return new Promise(() => undefined);
  };
  const { address } = await startServer({ '/t.T/Never': never, '/t.T/Echo': echo });
  // In MB: what it has not sent yet is held by the client. It does not wait to be told how many calls it may have.
  const session = connect(`http://${address}`, {
    ...{ maxSessionMemory: 1_000, peerMaxConcurrentStreams: 200 },
  });
  onTestFinished(() => session.destroy());
  const ends: unknown[] = [];
  for (let n = 0; n < 200; n += 1) {
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/t.T/Never', 'content-type': 'application/grpc' },
    });
    stream.on('error', () => undefined);
    stream.on('close', () => ends.push(stream.rstCode));
    stream.write(Buffer.concat([prefix, Buffer.alloc(MiB)]));
  }
  await expect.poll(() => [waiting, ends.length]).toEqual([128, 72]);
  // By which a caller knows that nothing was done, and may ask again.
  expect(new Set(ends)).toEqual(new Set([constants.NGHTTP2_REFUSED_STREAM]));
  // All that it may send: 64 KiB of each of them.
  const mostBytes = 200 * 66_000;
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(session.socket.bytesWritten).toBeLessThan(mostBytes);
  expect(await exchange(address, {}, framed(Buffer.alloc(9)))).toMatchObject({ grpc: '0' });
});

test('calls that are not begun yet are bounded too, and leave room when they are over', async () => {
  const refusing: Method = async () => {
    throw new GrpcError('UNAUTHENTICATED', 'no');
  };
  const { address } = await startServer({ '/t.T/Never': refusing, '/t.T/Echo': echo });
  const burst = async (connections: number, callsOfEach: number) => {
    const sessions = Array.from({ length: connections }, () => {
      const session = connect(`http://${address}`, { maxSessionMemory: 1_000 });
      session.on('error', () => undefined);
      onTestFinished(() => session.destroy());
      return session;
    });
    await Promise.all(sessions.map((session) => once(session, 'remoteSettings')));
    const statuses: Record<string, number> = {};
    const calls = sessions.flatMap((session) =>
      Array.from({ length: callsOfEach }, async () => {
        const stream = session.request({
          ...{ ':method': 'POST', ':path': '/t.T/Never', 'content-type': 'application/grpc' },
        });
        stream.on('error', () => undefined);
        stream.on('response', ({ 'grpc-status': status }) => {
          statuses[String(status)] = (statuses[String(status)] ?? 0) + 1;
        });
        stream.resume();
        await new Promise((resolve) => stream.once('close', resolve));
      }),
    );
    await Promise.all(calls);
    return statuses;
  };
  // Of one connection those that are too many wait at the caller.
  expect(await burst(1, 250)).toEqual({ 16: 250 });
  for (let n = 0; n < 2; n += 1) {
    const { 14: ofAll = 0, 16: refused = 0 } = await burst(20, 100);
    expect([ofAll + refused, refused >= 1_000, ofAll > 500]).toEqual([2_000, true, true]);
  }
  expect(await exchange(address, {}, framed(Buffer.alloc(9)))).toMatchObject({ grpc: '0' });
});

test('calls that come together on a new connection are let in, and it may send more then', async () => {
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  let begun = 0;
  const hold: Method = async () => {
    // As long as it takes to ask who calls.
    await new Promise((resolve) => setTimeout(resolve, 2));
    return {
      unary: async (message) => {
        begun += 1;
        await held;
        return { message: [message] };
      },
    };
  };
  const { address } = await startServer({ '/t.T/Hold': hold });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  const ask = () => {
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/t.T/Hold', 'content-type': 'application/grpc' },
    });
    stream.resume();
    stream.end(framed(Buffer.alloc(10)));
    return new Promise((resolve) =>
      stream.once('trailers', (trailers: IncomingHttpHeaders) => resolve(trailers['grpc-status'])),
    );
  };
  const answers = Array.from({ length: 200 }, ask);
  await expect.poll(() => begun).toBe(200);
  expect(session.remoteSettings).toMatchObject({
    ...{ initialWindowSize: 512 * 1024, maxConcurrentStreams: 256 },
  });
  release();
  expect(new Set(await Promise.all(answers))).toEqual(new Set(['0']));
});

test('connections are as many as they may be, also of one network, and who is turned away is told of', async () => {
  let turnedAway = 0;
  const limits = {
    maxConnections: 3,
    maxConnectionsPerGroup: 2,
    groupOf: () => 'all of one network',
    onCrowd: () => (turnedAway += 1),
  };
  const { address } = await startServer({ '/t.T/Echo': echo }, limits);
  const open = () => {
    const session = connect(`http://${address}`);
    session.on('error', () => undefined);
    onTestFinished(() => session.destroy());
    return session;
  };
  const ended = (session: ReturnType<typeof open>) =>
    new Promise((resolve) => {
      session.once('remoteSettings', () => setTimeout(() => resolve('open'), 100));
      session.once('goaway', resolve);
      session.once('close', () => resolve('closed'));
    });
  const first = open();
  expect([await ended(first), await ended(open())]).toEqual(['open', 'open']);
  expect([await ended(open()), turnedAway]).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM, 1]);
  // Who goes makes room.
  first.destroy();
  await new Promise((resolve) => first.once('close', resolve));
  await expect.poll(() => ended(open())).toBe('open');
});

test('an address that is shared by many has no bound of its own', async () => {
  let turnedAway = 0;
  const { address } = await startServer(
    { '/t.T/Echo': echo },
    {
      ...{ maxConnections: 3, maxConnectionsPerGroup: 1, onCrowd: () => (turnedAway += 1) },
      groupOf: (peer) => (peer === '127.0.0.1' ? undefined : peer),
    },
  );
  const sessions = Array.from({ length: 4 }, () => {
    const session = connect(`http://${address}`);
    session.on('error', () => undefined);
    onTestFinished(() => session.destroy());
    return session;
  });
  await expect.poll(() => sessions.filter((session) => session.destroyed).length).toBe(1);
  expect(turnedAway).toBe(1);
});
