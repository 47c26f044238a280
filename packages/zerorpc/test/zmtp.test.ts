import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { encode } from '@msgpack/msgpack';
import { expect, onTestFinished, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { eventually, method, MiB, startPeers, startServer } from './peers.js';

const echo = method((args) => args[0]);

/** A frame as rfc.zeromq.org/spec/23 has it, written by hand. */
function frame(flags: number, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body);
  if (bytes.length < 256) return Buffer.concat([Buffer.from([flags, bytes.length]), bytes]);
  const head = Buffer.alloc(9);
  head[0] = flags | 2;
  head.writeBigUInt64BE(BigInt(bytes.length), 1);
  return Buffer.concat([head, bytes]);
}

function property(name: string, value: Buffer | string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.from(value).length);
  const key = Buffer.from(name);
  return Buffer.concat([Buffer.from([key.length]), key, length, Buffer.from(value)]);
}

const greeting = Buffer.from(`ff00000000000000017f03004e554c4c${'00'.repeat(48)}`, 'hex');
const readyOf = (...properties: Buffer[]) =>
  frame(4, Buffer.concat([Buffer.from('\x05READY'), ...properties]));
const dealer = property('Socket-Type', 'DEALER');
const call = (id: string, ...args: unknown[]) =>
  Buffer.concat([
    frame(1, ''),
    frame(0, Buffer.from(encode([{ message_id: id, v: 3 }, 'echo', args]))),
  ]);

/** A connection, with all that has come on it. */
async function open(port: number) {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let came = Buffer.alloc(0);
  socket.on('data', (chunk) => (came = Buffer.concat([came, chunk])));
  const closed = new Promise<void>((resolve) => {
    socket.on('error', () => resolve()).on('close', () => resolve());
  });
  await once(socket, 'connect');
  return { socket, closed, came: () => came };
}

async function inBytes(socket: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    socket.write(Buffer.from([byte]));
    await nextTurn();
  }
}

test('a client is greeted at once, whatever its pieces are, and answered', async () => {
  const { port } = await startServer({ echo });
  const { socket, came } = await open(port);
  await eventually(() => came().length).toBe(64 + 2 + 1 + 5 + 1 + 11 + 4 + 6);
  expect(came().subarray(0, 64)).toEqual(greeting);
  expect(came().subarray(64).toString('latin1')).toContain('READY\x0bSocket-Type\0\0\0\x06ROUTER');
  socket.setNoDelay(true);
  await inBytes(socket, Buffer.concat([greeting, readyOf(dealer, property('X-Other', 'y'))]));
  await inBytes(socket, call('a', 'hello'));
  await eventually(() => came().includes('hello')).toBe(true);
});

test('a PING is answered with its context, and other commands by nothing', async () => {
  const { port } = await startServer({ echo });
  const { socket, came } = await open(port);
  const others = [frame(4, '\x05OTHER'), frame(4, ''), frame(4, '\xff')];
  const ping = frame(4, '\x04PING\0\x10context');
  socket.write(Buffer.concat([greeting, readyOf(dealer), ...others, ping, call('a', 'hello')]));
  await eventually(() => came().includes('hello')).toBe(true);
  expect(came().includes(frame(4, '\x04PONGcontext'))).toBe(true);
});

test.each([
  ['what is no greeting', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['ZMTP 2', Buffer.from(`ff00000000000000017f0105${'00'.repeat(52)}`, 'hex')],
  ['another mechanism', Buffer.from(greeting.toString('latin1').replace('NULL', 'PLAI'), 'latin1')],
  ['a message before READY', Buffer.concat([greeting, call('a', 1)])],
  ['another command', Buffer.concat([greeting, frame(4, '\x05HELLO')])],
  ['a publisher', Buffer.concat([greeting, readyOf(property('Socket-Type', 'PUB'))])],
  ['a property that is cut', Buffer.concat([greeting, readyOf(dealer.subarray(0, -1))])],
  ['half a property', Buffer.concat([greeting, readyOf(Buffer.from('\x20half'))])],
  ['a long command', Buffer.concat([greeting, frame(4, 'x'.repeat(2_000))])],
  ['a long frame', Buffer.concat([greeting, readyOf(dealer), frame(0, Buffer.alloc(MiB + 1))])],
  ['a length beyond all', Buffer.concat([greeting, readyOf(dealer), Buffer.alloc(9, 0xfb)])],
  [
    'an id on the way that no ZeroMQ has',
    Buffer.concat([greeting, readyOf(dealer), frame(1, Buffer.alloc(256)), call('a', 1)]),
  ],
  [
    'a message of many frames',
    Buffer.concat([greeting, readyOf(dealer), ...Array<Buffer>(40).fill(frame(1, 'x'))]),
  ],
])('is disconnected, and nobody else: %s', async (_what, bytes) => {
  const { port, faults, budget } = await startServer({ echo }, { limits: { maxFrameBytes: MiB } });
  const { socket, closed } = await open(port);
  socket.write(bytes);
  await closed;
  await eventually(() => budget.held).toBe(0);
  const peers = await startPeers(port);
  expect(await peers.next(peers.call('echo', [1]))).toMatchObject({ name: 'OK' });
  expect(faults).toEqual([]);
});

test('clients that have chosen the same id are two', async () => {
  const { port } = await startServer({ echo });
  const first = await open(port);
  const ready = readyOf(dealer, property('Identity', 'me'));
  first.socket.write(Buffer.concat([greeting, ready, call('a', 'one')]));
  await eventually(() => first.came().includes('one')).toBe(true);
  const second = await open(port);
  second.socket.write(Buffer.concat([greeting, ready, call('a', 'two')]));
  await eventually(() => second.came().includes('two')).toBe(true);
  first.socket.write(call('b', 'three'));
  await eventually(() => first.came().includes('three')).toBe(true);
  expect(second.came().includes('three')).toBe(false);
});

test('who asks and does not read is not answered more than fits', async () => {
  const { port } = await startServer({ echo });
  const { socket, came } = await open(port);
  socket.pause();
  socket.write(Buffer.concat([greeting, readyOf(dealer)]));
  const ping = frame(4, '\x04PING\0\x10context-of-16-by');
  const pings = Buffer.concat(Array<Buffer>(40_000).fill(ping));
  for (let n = 0; n < 60; n += 1) {
    await new Promise((resolve) => socket.write(pings, resolve));
  }
  socket.resume();
  await eventually(() => came().includes('PONG')).toBe(true);
  socket.write(call('a', 'hello'));
  await eventually(() => came().includes('hello')).toBe(true);
  expect(came().length).toBeLessThan(30 * MiB);
});

test('a PING amid a long answer does not tear it', async () => {
  const large = Buffer.alloc(8 * MiB, 'x');
  let calls = 0;
  const answer = () => (++calls === 1 ? large : 'the second');
  const { port, budget } = await startServer({ echo: method(answer) });
  const { socket, came } = await open(port);
  socket.pause();
  socket.write(Buffer.concat([greeting, readyOf(dealer), call('a')]));
  await eventually(() => budget.held).toBeGreaterThan(7 * MiB);
  socket.write(Buffer.concat([frame(4, '\x04PING\0\x10context'), call('b')]));
  // The PING has been read when what came behind it has been.
  await eventually(() => calls).toBe(2);
  socket.resume();
  await eventually(() => came().includes('the second')).toBe(true);
  expect(came().includes(large)).toBe(true);
  expect(budget.held).toBe(0);
  socket.write(frame(4, '\x04PING\0\x10again'));
  await eventually(() => came().includes(frame(4, '\x04PONGagain'))).toBe(true);
});

test('what is handed over takes of the budget until it is out', async () => {
  const large = method(() => Buffer.alloc(32 * MiB));
  const { port, budget } = await startServer({ echo: large });
  const { socket } = await open(port);
  socket.pause();
  socket.write(Buffer.concat([greeting, readyOf(dealer), call('a', 1)]));
  await eventually(() => budget.held).toBeGreaterThan(30 * MiB);
  socket.resume();
  await eventually(() => budget.held).toBe(0);
});

test('halves of strangers have room of their own, and the oldest makes way', async () => {
  const { port, budget } = await startServer({ echo }, { limits: { maxFrameBytes: 4 * MiB } });
  const begun = Buffer.concat([greeting, readyOf(dealer)]);
  const large = call('a', 'still here', Buffer.alloc(4 * MiB - 100));
  const [first, second, third] = [await open(port), await open(port), await open(port)];
  for (const { socket, came } of [first, second]) {
    socket.write(
      Buffer.concat([begun, frame(4, '\x04PING\0\x10ready'), large.subarray(0, 3 * MiB)]),
    );
    await eventually(() => came().includes('PONGready')).toBe(true);
  }
  third.socket.write(Buffer.concat([begun, large.subarray(0, 3 * MiB)]));
  await first.closed;
  expect(budget.held).toBe(0);
  second.socket.write(large.subarray(3 * MiB));
  await eventually(() => second.came().includes('still here')).toBe(true);
  third.socket.write(large.subarray(3 * MiB));
  await eventually(() => third.came().includes('still here')).toBe(true);
});

test('who is trusted takes of the budget of all', async () => {
  const { port, budget } = await startServer({
    echo: method((args, { connection }) => {
      connection.isTrusted = true;
      return args[0];
    }),
  });
  const { socket, came } = await open(port);
  socket.write(Buffer.concat([greeting, readyOf(dealer), call('a', 'hello')]));
  await eventually(() => came().includes('hello')).toBe(true);
  socket.write(frame(0, Buffer.alloc(4 * MiB)).subarray(0, 3 * MiB));
  await eventually(() => budget.held).toBe(4 * MiB);
  socket.destroy();
  await eventually(() => budget.held).toBe(0);
});

test('a message takes of the budget once', async () => {
  const budget = createByteBudget(5 * MiB);
  const { port } = await startServer(
    {
      size: method(
        ([bytes], { connection }) => (connection.isTrusted = (bytes as Buffer).length > 0),
      ),
    },
    { budget },
  );
  const peers = await startPeers(port);
  for (let n = 0; n < 3; n += 1) {
    expect(await peers.next(peers.call('size', [{ $bytes: 3 * MiB }]))).toMatchObject({
      name: 'OK',
    });
  }
});

test('misfits are forgiven to who sends what is a message', async () => {
  const { port, dropped } = await startServer({ echo });
  const { socket, came } = await open(port);
  const misfits = Array<Buffer>(80).fill(frame(0, ''));
  const one = Buffer.concat([...misfits, call('a', 'one')]);
  socket.write(Buffer.concat([greeting, readyOf(dealer), one, ...misfits, call('b', 'two')]));
  await eventually(() => came().includes('two')).toBe(true);
  expect(dropped.length).toBe(160);
});

test('who sends nothing but what is no message is disconnected, and holds nobody up', async () => {
  const { port, dropped } = await startServer({ echo });
  const { socket, closed } = await open(port);
  socket.write(
    Buffer.concat([greeting, readyOf(dealer), ...Array<Buffer>(40_000).fill(frame(0, ''))]),
  );
  await closed;
  expect(dropped.length).toBe(100);
});
