import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { PeerError } from '../src/index.js';
import {
  answer,
  call,
  errorOf,
  frame,
  isEnd,
  literal,
  ok,
  rawServer,
  sayer,
  settings,
  statusOf,
  type RawPeer,
} from './raw-server.js';
import { connectTo } from './servers.js';

const cut = ok.length - 7;
test.each<[string, (stream: number) => Buffer[]]>([
  ['in frames of their own', answer],
  [
    'filled up, and with a priority',
    (s) => [
      frame(1, 0x2c, s, Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 9]), ok, Buffer.alloc(3)])),
      frame(0, 8, s, [4, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
      frame(1, 5, s, statusOf(0)),
    ],
  ],
  [
    'in many frames',
    (s) => [
      frame(1, 0, s, ok.subarray(0, cut)),
      frame(9, 0, s),
      frame(9, 4, s, ok.subarray(cut)),
      ...[0, 0, 0, 0, 0].map((byte) => frame(0, 0, s, [byte])),
      frame(0, 0, s),
      frame(1, 1, s),
      frame(9, 4, s, statusOf(0)),
    ],
  ],
  [
    'behind what is said before, and what nobody knows',
    (s) => [
      frame(1, 4, s, literal(':status', '103')),
      frame(2, 0, s, [0, 0, 0, 0, 1]),
      frame(200, 255, s, [1, 2, 3]),
      ...answer(s),
    ],
  ],
  ['and ended without a reason', (s) => [...answer(s), frame(3, 0, s, [0, 0, 0, 0])]],
])('an answer comes %s', async (_how, frames) => {
  const peer = connectTo(await sayer(frames));
  for (let n = 0; n < 3; n += 1) {
    expect(await peer.call(call())).toMatchObject({ status: 'OK', message: Buffer.alloc(0) });
  }
});

test('an answer comes byte by byte', async () => {
  const address = await rawServer((one, { socket }) => {
    if (!isEnd(one)) return;
    socket.setNoDelay(true);
    for (const byte of Buffer.concat(answer(one.stream))) socket.write(Buffer.from([byte]));
  });
  expect((await connectTo(address).call(call())).status).toBe('OK');
});

test.each<[string, string, (stream: number) => Buffer[]]>([
  ['too large a frame', 'too large', (s) => [frame(0, 0, s, Buffer.alloc(16_385))]],
  ['headers within headers', 'have no end', (s) => [frame(1, 0, s, ok), frame(1, 4, s, ok)]],
  ['data within headers', 'have no end', (s) => [frame(1, 0, s, ok), frame(0, 0, s, [1])]],
  ['headers that go on', 'have not begun', (s) => [frame(9, 4, s, ok)]],
  ['headers that go on elsewhere', 'asked', (s) => [frame(1, 0, s), frame(9, 4, s + 2, ok)]],
  ['headers without end', 'too many headers', (s) => [frame(1, 0, s), ...Array.from({ length: 200 }, () => frame(9, 0, s))]], // prettier-ignore
  ['large headers', 'too many headers', (s) => [frame(1, 0, s), ...Array.from({ length: 5 }, () => frame(9, 0, s, Buffer.alloc(16_000)))]], // prettier-ignore
  ['headers of no form', 'cannot be read', (s) => [frame(1, 4, s, [0x80])]],
  ['what nobody asked', 'asked', (s) => [frame(1, 4, s + 2, ok)]],
  ['a call of its own', 'asked', () => [frame(1, 4, 2, ok)]],
  ['a promise', 'promises', (s) => [frame(5, 4, s, [0, 0, 0, 2])]],
  ['all padding', 'padding', (s) => [frame(0, 8, s, [9, 0])]],
  ['a ping of no form', 'out of form', () => [frame(6, 0, 0, [1])]],
  ['settings of no form', 'out of form', () => [frame(4, 0, 0, [1])]],
  ['settings of a stream', 'no stream', (s) => [frame(4, 0, s)]],
  ['an answer to settings of no form', 'out of form', () => [frame(4, 1, 0, [0, 0, 0, 0, 0, 0])]],
  ['frames of no size', 'no size', () => [settings([5, 100])]],
  ['a window beyond all', 'more than there may be', () => [settings([4, 2 ** 31])]],
  ['room for nothing', 'for nothing', (s) => [frame(8, 0, s, [0, 0, 0, 0])]],
  ['room beyond all', 'more than there may be', () => [frame(8, 0, 0, [127, 255, 255, 255])]],
  ['a reset of no form', 'out of form', (s) => [frame(3, 0, s, [1])]],
  ['an end of no form', 'out of form', () => [frame(7, 0, 0, [1])]],
])('a peer is sent away that sends %s', async (_what, text, frames) => {
  let peer: RawPeer | undefined;
  const address = await rawServer((one, by) => {
    peer = by;
    if (isEnd(one)) by.send(...frames(one.stream));
  });
  const error = await errorOf(connectTo(address).call(call()));
  expect(error).toBeInstanceOf(PeerError);
  expect(error).toMatchObject({ status: 'UNAVAILABLE', neverTaken: false });
  expect((error as Error).message).toContain(text);
  await expect.poll(() => peer?.socket.destroyed).toBe(true);
  expect(peer?.seen.some(({ type }) => type === 7)).toBe(true);
});

test('who speaks no HTTP/2 is no peer', async () => {
  const address = await rawServer(
    () => undefined,
    ({ socket }) => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
  );
  const error = await errorOf(connectTo(address).call(call()));
  expect((error as Error).message).toMatch(/no HTTP\/2|too large/);
});

/** Takes nothing before it is told to. */
function slowSink() {
  let onDrain = () => undefined as unknown;
  let bytes = 0;
  return {
    write: (piece: Buffer) => ((bytes += piece.length), false),
    once: (_event: string, listener: () => void) => (onDrain = listener),
    drain: () => onDrain(),
    bytes: () => bytes,
  };
}

test.each<[string, (s: number) => Buffer[]]>([
  ['reset', (s) => [frame(3, 0, s, [0, 0, 0, 0])]],
  ['sent away', () => [frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 2])]],
  ['cut', () => []],
])('an answer that has come whole is one, though its call is %s then', async (how, frames) => {
  const address = await rawServer((one, peer) => {
    if (!isEnd(one)) return;
    const { stream: s } = one;
    const pieces = [frame(0, 0, s, [0, 0, 0, 0, 3, 1]), frame(0, 0, s, [2]), frame(0, 0, s, [3])];
    peer.send(frame(1, 4, s, ok), ...pieces, frame(1, 5, s, statusOf(0)), ...frames(s));
    if (how === 'cut') peer.socket.end();
  });
  const sink = slowSink();
  let ended: unknown;
  const pending = connectTo(address)
    .call({ ...call(), sinkFor: () => sink })
    .then((value) => (ended = value));
  await expect.poll(() => sink.bytes()).toBe(1);
  await sleep(50);
  expect(ended).toBeUndefined();
  await expect.poll(() => (sink.drain(), ended)).toMatchObject({ status: 'OK' });
  await pending;
  expect(sink.bytes()).toBe(3);
});

test('who has begun to answer has taken the call', async () => {
  const address = await sayer((s) => [frame(1, 4, s, ok), frame(3, 0, s, [0, 0, 0, 7])]);
  const error = await errorOf(connectTo(address).call(call()));
  expect(error).toMatchObject({ status: 'UNAVAILABLE', neverTaken: false });
});

test('who sends away for a reason is not waited for', async () => {
  const address = await sayer(() => [frame(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 11])]);
  const error = await errorOf(connectTo(address).call(call()));
  expect(error).toMatchObject({ neverTaken: false, message: 'the peer sent away: 11' });
});

test('trailers that no HTTP/2 has are no answer', async () => {
  const address = await sayer((s) => [
    frame(1, 4, s, ok),
    frame(0, 0, s, Buffer.alloc(5)),
    frame(1, 5, s, Buffer.concat([statusOf(0), literal('transfer-encoding', 'chunked')])),
  ]);
  const error = await errorOf(connectTo(address).call(call()));
  expect((error as Error).message).toContain('out of form');
});

test('what a peer had taken when it said that it ends is answered, what it had not goes elsewhere', async () => {
  const begun: string[] = [];
  let connections = 0;
  const address = await rawServer(
    (one, peer) => {
      if (!isEnd(one)) return;
      begun.push(`${connections}.${one.stream}`);
      if (connections > 1) peer.send(...answer(one.stream));
      else if (one.stream === 3) {
        peer.send(frame(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]));
        setTimeout(() => peer.send(...answer(1)), 20);
      }
    },
    (peer) => {
      connections += 1;
      peer.send(settings());
    },
  );
  const peer = connectTo(address);
  const answers = await Promise.all([peer.call(call()), peer.call(call())]);
  expect(answers.map(({ status }) => status)).toEqual(['OK', 'OK']);
  expect(begun).toEqual(['1.1', '1.3', '2.1']);
});

test('whatever a peer says, each call comes to its end', async () => {
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const pieces = (s: number) => [
    ...answer(s),
    ...[
      frame(1, 5, s, Buffer.concat([ok, statusOf(0)])),
      frame(1, 0, s, ok),
      frame(9, 4, s, statusOf(3)),
    ],
    ...[
      frame(3, 0, s, [0, 0, 0, random(14)]),
      frame(6, 0, 0, Buffer.alloc(8)),
      settings([4, random(70_000)]),
    ],
    ...[
      frame(8, 0, s, [0, 0, 1, 1]),
      frame(7, 0, 0, [0, 0, 0, s, 0, 0, 0, random(3)]),
      settings([3, random(3)]),
    ],
    frame(
      random(12),
      random(64),
      random(8),
      Buffer.from(Array.from({ length: random(40) }, () => random(256))),
    ),
  ];
  const address = await rawServer((one, peer) => {
    if (!isEnd(one)) return;
    const all = Array.from({ length: 1 + random(6) }, () => {
      const piece = Buffer.from(pieces(one.stream)[random(13)] ?? Buffer.alloc(0));
      if (piece.length > 0 && random(4) === 0) piece[random(piece.length)] = random(256);
      return piece;
    });
    peer.send(...all);
    if (random(8) === 0) peer.socket.end();
  });
  const peer = connectTo(address);
  onTestFinished(() => peer.close());
  let ended = 0;
  for (let round = 0; round < 150; round += 1) {
    await Promise.all(
      Array.from({ length: 8 }, () =>
        peer
          .call({ ...call(random(3) * 9_000), deadlineAt: performance.now() + 40 })
          .then(
            () => undefined,
            (error: unknown) => expect(error).toBeInstanceOf(Error),
          ) // prettier-ignore
          .finally(() => (ended += 1)),
      ),
    );
  }
  expect(ended).toBe(1_200);
}, 60_000);
