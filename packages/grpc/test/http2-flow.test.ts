import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import {
  answer,
  call,
  errorOf,
  frame,
  isBegun,
  isEnd,
  ok,
  rawServer,
  sayer,
  settings,
  statusOf,
  type RawPeer,
  type Seen,
} from './raw-server.js';
import { connectTo, MiB } from './servers.js';

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

test('nor does it keep all that comes between', async () => {
  const chunk = Buffer.concat([
    frame(0, 0, 1, [1]),
    frame(200, 0, 0, Buffer.alloc(16_000)),
    frame(200, 0, 0, Buffer.alloc(16_000)),
  ]);
  let written = 0;
  const address = await rawServer((one, { socket, send }) => {
    if (!isEnd(one)) return;
    send(frame(1, 4, one.stream, ok), frame(0, 0, one.stream, [0, 0, 64, 0, 0, 1]));
    const write = () => {
      while (written < 4_000) {
        written += 1;
        if (!socket.write(chunk)) return void socket.once('drain', write);
      }
    };
    write();
  });
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = () => (collect(), process.memoryUsage().arrayBuffers);
  const before = held();
  const sink = { write: () => false, once: () => undefined };
  const end = new AbortController();
  const pending = errorOf(
    connectTo(address).call({ ...call(), sinkFor: () => sink, signal: end.signal }),
  );
  await expect.poll(() => written, { timeout: 20_000 }).toBe(4_000);
  expect(held() - before).toBeLessThan(32 * MiB);
  end.abort(new Error('enough'));
  expect(await pending).toEqual(new Error('enough'));
});

test('a body that is filled up is granted room like any', async () => {
  let granted = 0;
  const padded = (s: number, first: number[]) =>
    frame(0, 8, s, Buffer.concat([Buffer.from([255, ...first]), Buffer.alloc(255 + 10)]));
  const address = await rawServer((one, peer) => {
    if (one.type === 8 && one.stream > 0) granted += one.payload.readUInt32BE();
    if (isEnd(one)) {
      peer.send(frame(1, 4, one.stream, ok), padded(one.stream, [0, 0, 1, 0, 0]));
      for (let n = 0; n < 3_000; n += 1) peer.send(padded(one.stream, []));
    }
  });
  const end = new AbortController();
  const pending = errorOf(connectTo(address).call({ ...call(), signal: end.signal }));
  await expect.poll(() => granted).toBeGreaterThan(500_000);
  end.abort(new Error('enough'));
  await pending;
});

test('small calls have their turn where the peer grants little room for all', async () => {
  const order: number[] = [];
  const address = await rawServer(
    (one, peer) => {
      if (isEnd(one)) {
        order.push(one.stream);
        peer.send(...answer(one.stream));
      }
      if (one.type === 0) peer.send(frame(8, 0, 0, [0, 0, 64, 0]));
    },
    (peer) => peer.send(settings([4, 2 ** 30])),
  );
  const peer = connectTo(address);
  await peer.call(call());
  await Promise.all([4 * MiB, 4 * MiB, 4 * MiB, 20_000].map((bytes) => peer.call(call(bytes))));
  expect(order.slice(0, 2)).toEqual([1, 9]);
});

test('calls wait while the system takes no more for the peer', async () => {
  const address = await rawServer(
    (one, peer) => {
      if (one.stream === 1 && isEnd(one)) {
        peer.send(frame(8, 0, 0, [127, 0, 0, 0]), ...answer(1));
        peer.socket.pause();
      }
    },
    (peer) => peer.send(settings([4, 2 ** 30])),
  );
  const peer = connectTo(address);
  await peer.call(call());
  const before = process.memoryUsage().arrayBuffers;
  for (let n = 0; n < 40; n += 1) {
    const deadlineAt = performance.now() + 30;
    const calls = Array.from({ length: 50 }, () => peer.call({ ...call(15_000), deadlineAt }));
    for (const { status } of await Promise.allSettled(calls)) expect(status).toBe('rejected');
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * MiB);
}, 30_000);

test('calls wait where the peer takes one at a time', async () => {
  const open = new Map<RawPeer, number>();
  let most = 0;
  const address = await rawServer(
    (one, peer) => {
      if (isBegun(one)) open.set(peer, (open.get(peer) ?? 0) + 1);
      most = Math.max(most, open.get(peer) ?? 0);
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
  const answers = await Promise.all(Array.from({ length: 40 }, () => peer.call(call())));
  expect(answers.every(({ status }) => status === 'OK')).toBe(true);
  await Promise.all(Array.from({ length: 40 }, () => peer.call(call())));
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
