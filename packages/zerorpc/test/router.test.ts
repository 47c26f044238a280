import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import type { Connection } from '../src/method.js';
import { openRouter } from '../src/router.js';
import { eventually, MiB } from './peers.js';

const hello = Buffer.concat([
  Buffer.from(`ff00000000000000017f03004e554c4c${'00'.repeat(48)}`, 'hex'),
  Buffer.from('\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER'),
]);
const message = Buffer.from('\0\x05hello');

/** A router, and what it tells. */
async function start(options: Partial<Parameters<typeof openRouter>[0]> = {}) {
  const came: Connection[] = [];
  const gone: Connection[] = [];
  const faults: unknown[] = [];
  const router = openRouter({
    ...{ maxFrameBytes: 64 * MiB, maxPartBytes: 64 * MiB, budget: createByteBudget(64 * MiB) },
    onMessage: (from) => came.push(from),
    onRoom: () => undefined,
    onGone: (connection) => gone.push(connection),
    onFault: (error) => faults.push(error),
    ...options,
  });
  onTestFinished(() => router.close());
  const port = await router.bind({ host: '127.0.0.1', port: 0 });
  return { router, port, came, gone, faults };
}

async function open(port: number): Promise<{ socket: Socket; closed: Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const closed = new Promise((resolve) => {
    socket.on('error', resolve).on('close', resolve);
  });
  await once(socket, 'connect');
  socket.resume();
  return { socket, closed };
}

test('who does not come through the handshake is disconnected', async () => {
  const { port, gone } = await start({ handshakeMs: 300 });
  const { socket, closed } = await open(port);
  socket.write(hello.subarray(0, 70));
  await closed;
  expect(gone).toEqual([]);
});

test('who leaves a message half sent is disconnected, who has sent it whole is not', async () => {
  const { port, came, gone } = await start({ stallMs: 500 });
  const [half, whole] = [await open(port), await open(port)];
  half.socket.write(Buffer.concat([hello, message.subarray(0, 3)]));
  whole.socket.write(Buffer.concat([hello, message]));
  await half.closed;
  await eventually(() => [came.length, gone.length]).toEqual([1, 1]);
  whole.socket.write(message);
  await eventually(() => came.length).toBe(2);
  expect(came[0]).toBe(came[1]);
});

test('who takes nothing is disconnected, whatever it sends; who takes it slowly is not', async () => {
  const { router, port, came, gone } = await start({ stallMs: 500 });
  const clients = [await open(port), await open(port)] as const;
  for (const [index, { socket }] of clients.entries()) {
    socket.pause();
    socket.write(Buffer.concat([hello, message]));
    await eventually(() => came.length).toBe(index + 1);
  }
  const out: number[] = [];
  for (const [index, to] of came.entries()) {
    expect(router.send(to, [Buffer.alloc(24 * MiB)], () => out.push(index))).toBe('sent');
  }
  const talking = setInterval(() => clients[0].socket.write(message), 50);
  onTestFinished(() => clearInterval(talking));
  let taken = 0;
  const taking = setInterval(() => {
    taken += (clients[1].socket.read(256 * 1024) as Buffer | null)?.length ?? 0;
    if (taken === 0) clients[1].socket.read(0);
  }, 20);
  onTestFinished(() => clearInterval(taking));
  await clients[0].closed;
  await eventually(() => gone.length).toBe(1);
  expect(gone[0]).toBe(came[0]);
  await eventually(() => out.includes(1)).toBe(true);
  expect(gone.length).toBe(1);
});

test('who leaves one half sent is disconnected, however long it was idle before, and whatever it is sent', async () => {
  const stallMs = 300;
  const { router, port, came } = await start({ stallMs });
  const { socket, closed } = await open(port);
  socket.write(Buffer.concat([hello, message]));
  await eventually(() => came.length).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 2 * stallMs));
  const [client] = came as [Connection];
  const telling = setInterval(() => router.send(client, [message], () => undefined), 50);
  onTestFinished(() => clearInterval(telling));
  socket.write(message.subarray(0, 3));
  await closed;
});

test.each([
  ['frames that are still to come', Buffer.from('\x01\0')],
  ['a short body', Buffer.from('\0\x01')],
  ['all but a trickle of it', Buffer.from('\0\xff', 'latin1')],
])('who keeps back %s is disconnected', async (_, bytes) => {
  const { port } = await start({ stallMs: 300 });
  const { socket, closed } = await open(port);
  socket.write(Buffer.concat([hello, message, bytes]));
  const trickle = setInterval(() => bytes.at(-1) === 0xff && socket.write('x'), 50);
  onTestFinished(() => clearInterval(trickle));
  await closed;
});

/** Half of a message, and its other half, of those who are trusted. */
async function openTrusted(port: number, came: readonly Connection[]) {
  const { length } = came;
  const { socket, closed } = await open(port);
  socket.write(Buffer.concat([hello, message]));
  await eventually(() => came.length).toBe(length + 1);
  const client = came[length] as Connection;
  client.isTrusted = true;
  return { socket, closed, client };
}
const large = Buffer.alloc(9 + 4 * MiB);
large[0] = 2;
large.writeBigUInt64BE(BigInt(4 * MiB), 1);
const halves = [large.subarray(0, 3 * MiB), large.subarray(3 * MiB)] as const;

test.each([
  ['all', 8, 64],
  ['those who were let in', 64, 8],
])(
  'who waits for room of %s is heard when there is some: of many halves, some become whole',
  async (_, ofAll, ofParts) => {
    const budget = createByteBudget(ofAll * MiB);
    const { router, port, came } = await start({ budget, maxPartBytes: ofParts * MiB });
    const clients: Awaited<ReturnType<typeof openTrusted>>[] = [];
    for (let n = 0; n < 3; n += 1) clients.push(await openTrusted(port, came));
    for (const { socket } of clients) socket.write(halves[0]);
    await eventually(() => clients.every(({ client }) => router.isAmid(client))).toBe(true);
    await eventually(() => budget.held).toBe(8 * MiB);
    for (const { socket } of clients) socket.write(halves[1]);
    await eventually(() => came.length).toBe(6);
    expect(clients.some(({ client }) => router.isAmid(client))).toBe(false);
    expect(budget.held).toBe(0);
  },
);

test('who finds no room is disconnected in the end', async () => {
  const budget = createByteBudget(2 * MiB);
  const { port, came, gone } = await start({ budget, stallMs: 500 });
  const { socket, closed, client } = await openTrusted(port, came);
  socket.write(halves[0]);
  await closed;
  await eventually(() => gone).toEqual([client]);
  expect(budget.held).toBe(0);
});

test('nothing is given back that was not taken', async () => {
  const gifts: number[] = [];
  const budget = { take: () => true, give: (bytes: number) => gifts.push(bytes) };
  const { port, came } = await start({ budget });
  const { socket } = await openTrusted(port, came);
  socket.write(Buffer.concat([message, halves[0]]));
  socket.write(halves[1]);
  await eventually(() => came.length).toBe(3);
  expect(gifts).toEqual([4 * MiB]);
});

test('one group has half of the connections', async () => {
  let crowd = 0;
  const { port, came } = await start({
    ...{ maxConnections: 4, groupOf: () => 'a', onCrowd: () => (crowd += 1) },
  });
  const clients = [await open(port), await open(port), await open(port)] as const;
  await clients[2].closed;
  expect(crowd).toBe(1);
  clients[0].socket.destroy();
  await clients[0].closed;
  clients[1].socket.write(Buffer.concat([hello, message]));
  await eventually(() => came.length).toBe(1);
  await eventually(async () => {
    const { socket } = await open(port);
    socket.write(Buffer.concat([hello, message]));
    return came.length;
  }).toBeGreaterThan(1);
});
