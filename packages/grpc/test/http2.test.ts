import { expect, onTestFinished, test } from 'vitest';
import { PeerError } from '../src/index.js';
import { connectTo, MiB } from './servers.js';
import {
  answer,
  frame,
  literal,
  ok,
  rawServer,
  settings,
  statusOf,
  type RawPeer,
  type Seen,
} from './raw-server.js';

const call = (bytes = 5) => ({
  path: '/t.T/Any',
  message: [Buffer.alloc(bytes, 7)],
  maxAnswerBytes: 8 * MiB,
});
const isBegun = ({ type }: Seen) => type === 1;
const isEnd = ({ type, flags }: Seen) => type === 0 && flags === 1;
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail('it was answered'),
    (error: unknown) => error,
  );

/** A server that says this to every call, once it is there whole. */
const sayer = (frames: (stream: number) => Buffer[]) =>
  rawServer((one, peer) => {
    if (isEnd(one)) peer.send(...frames(one.stream));
  });

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

test('a body goes out as the peer grants room for it, and by turns with others', async () => {
  const bodies = new Map<number, number>();
  const order: number[] = [];
  const address = await rawServer(
    (one, peer) => {
      if (isBegun(one)) bodies.set(one.stream, 0);
      if (one.type !== 0) return;
      order.push(one.stream);
      expect(one.payload.length).toBeLessThanOrEqual(1_000);
      bodies.set(one.stream, (bodies.get(one.stream) ?? 0) + one.payload.length);
      if (isEnd(one)) peer.send(...answer(one.stream));
      else peer.send(frame(8, 0, one.stream, [0, 0, 3, 232]), frame(8, 0, 0, [0, 0, 3, 232]));
    },
    (peer) => peer.send(settings([4, 1_000])),
  );
  const peer = connectTo(address);
  // Before it knows the peer, the usual windows hold.
  await peer.call(call(100));
  const answers = await Promise.all([peer.call(call(300_000)), peer.call(call(300_000))]);
  expect(answers.map(({ status }) => status)).toEqual(['OK', 'OK']);
  expect([...bodies.values()]).toEqual([105, 300_005, 300_005]);
  const turns = order.slice(100, 300);
  expect(turns.filter((stream) => stream === turns[0]).length).toBeGreaterThan(50);
  expect(turns.filter((stream) => stream === turns[0]).length).toBeLessThan(150);
});

test('a peer that takes back room gets no more until it has granted that again', async () => {
  let bytes = 0;
  let peer: RawPeer | undefined;
  const address = await rawServer((one, by) => {
    peer = by;
    if (one.type === 0) bytes += one.payload.length;
    if (isEnd(one)) by.send(...answer(one.stream));
  });
  const pending = connectTo(address).call(call(100_000));
  await expect.poll(() => bytes).toBe(65_535);
  peer?.send(settings([4, 0]), frame(8, 0, 0, [0, 1, 0, 0]), frame(8, 0, 1, [0, 0, 255, 255]));
  await expect.poll(() => peer?.seen.filter(({ type, flags }) => type === 4 && flags === 1).length).toBe(2); // prettier-ignore
  expect(bytes).toBe(65_535);
  peer?.send(frame(8, 0, 1, [0, 0, 0, 1]));
  await expect.poll(() => bytes).toBe(65_536);
  peer?.send(frame(8, 0, 1, [0, 1, 0, 0]));
  expect((await pending).status).toBe('OK');
  expect(bytes).toBe(100_005);
});

test('data beyond what is read is not taken', async () => {
  const address = await sayer((s) => [
    frame(1, 4, s, ok),
    frame(0, 0, s, [0, 0, 64, 0, 0]),
    ...Array.from({ length: 64 }, () => frame(0, 0, s, Buffer.alloc(16_384))),
  ]);
  const sink = { write: () => false, once: () => undefined };
  const error = await errorOf(connectTo(address).call({ ...call(), sinkFor: () => sink }));
  expect((error as Error).message).toContain('more than it may');
});

test('nor is it in pieces of nearly nothing', async () => {
  const address = await sayer((s) => [
    frame(1, 4, s, ok),
    frame(0, 0, s, [0, 0, 64, 0, 0, 1]),
    ...Array.from({ length: 4_100 }, () => frame(0, 0, s, [1])),
  ]);
  const sink = { write: () => false, once: () => undefined };
  const error = await errorOf(connectTo(address).call({ ...call(), sinkFor: () => sink }));
  expect((error as Error).message).toContain('small pieces');
});

test('calls wait where the peer takes one at a time', async () => {
  const open = new Map<RawPeer, number>();
  let most = 0;
  const address = await rawServer(
    (one, peer) => {
      const isFirst = peer === [...open.keys()][0];
      if (isBegun(one)) open.set(peer, (open.get(peer) ?? 0) + 1);
      // The others may not have said yet what they take.
      if (isFirst) most = Math.max(most, open.get(peer) ?? 0);
      if (!isEnd(one)) return;
      setTimeout(() => {
        open.set(peer, (open.get(peer) ?? 0) - 1);
        peer.send(...answer(one.stream));
      }, 2);
    },
    (peer) => {
      open.set(peer, 0);
      peer.send(settings([3, 1]));
    },
  );
  const peer = connectTo(address);
  await peer.call(call());
  const answers = await Promise.all(Array.from({ length: 40 }, () => peer.call(call())));
  expect(answers.every(({ status }) => status === 'OK')).toBe(true);
  expect([most, open.size]).toEqual([1, 8]);
});

test('an answer before the body is whole ends the call, and its body', async () => {
  const seen: Seen[] = [];
  const address = await rawServer((one, peer) => {
    seen.push(one);
    if (isBegun(one)) peer.send(frame(1, 5, one.stream, Buffer.concat([ok, statusOf(8)])));
  });
  expect((await connectTo(address).call(call(8 * MiB))).status).toBe('RESOURCE_EXHAUSTED');
  await expect.poll(() => seen.find(({ type }) => type === 3)?.payload[3]).toBe(8);
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

test('pings are answered, and not for who reads nothing', async () => {
  let peer: RawPeer | undefined;
  const address = await rawServer((one, by) => {
    peer = by;
    if (isEnd(one)) by.send(frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]));
    if (one.type === 6) by.send(...answer(1));
  });
  await connectTo(address).call(call());
  expect(peer?.seen.find(({ type }) => type === 6)).toMatchObject({
    flags: 1,
    payload: Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]),
  });

  const flood = frame(6, 0, 0, Buffer.alloc(8));
  const deaf = await rawServer((one, by) => {
    if (!isEnd(one)) return;
    by.socket.pause();
    const more = () => {
      while (!by.socket.destroyed && by.socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => flood)))); // prettier-ignore
    };
    by.socket.on('drain', more);
    more();
  });
  const error = await errorOf(connectTo(deaf).call(call()));
  expect((error as Error).message).toMatch(/does not read|closed|EPIPE|ECONNRESET/);
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
