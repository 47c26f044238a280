import { expect, test } from 'vitest';
import { ZeroRpcError } from '../src/index.js';
import { eventually, MiB, method, startPeers, startServer, type Id, type Peers } from './peers.js';

/** Counts to `last`, and how far it was asked to go. */
function counter(last: number, fail?: Error) {
  const seen = { made: 0, isEnded: false };
  const count = method(async function* () {
    try {
      for (let n = 0; n < last; n += 1) {
        seen.made += 1;
        yield n;
      }
      if (fail !== undefined) throw fail;
    } finally {
      seen.isEnded = true;
    }
  });
  return { seen, count };
}

async function take(peers: Peers, call: Id, count: number): Promise<unknown[]> {
  const all: unknown[] = [];
  for (let n = 0; n < count; n += 1) {
    const { name, args } = await peers.next(call);
    all.push(name === 'STREAM' ? args : name);
  }
  return all;
}

test('a stream goes as far as the client has room: one, and what it grants', async () => {
  const { seen, count } = counter(6);
  const { port, faults } = await startServer({ count });
  const peers = await startPeers(port);
  const call = peers.call('count', []);
  expect(await take(peers, call, 1)).toEqual([0]);
  peers.event(call, '_zpc_more', [2]);
  expect(await take(peers, call, 2)).toEqual([1, 2]);
  // Whatever else goes to and fro, nothing more comes of this one.
  await peers.next(peers.call('_zerorpc_ping', []));
  expect(peers.came).toEqual([]);
  expect(seen).toEqual({ made: 3, isEnded: false });
  peers.event(call, '_zpc_more', [100]);
  expect(await take(peers, call, 4)).toEqual([3, 4, 5, 'STREAM_DONE']);
  expect(seen.isEnded).toBe(true);
  expect(faults).toEqual([]);
});

test('an item is not wrapped, and the end carries null', async () => {
  const items = [null, [1], { a: new Uint8Array([1]) }, 'x'];
  const { port } = await startServer({
    each: method(async function* () {
      yield* items;
    }),
  });
  const peers = await startPeers(port);
  const call = peers.call('each', []);
  peers.event(call, '_zpc_more', [10]);
  expect(await take(peers, call, 4)).toEqual([null, [1], { a: { $bin: '01' } }, 'x']);
  expect(await peers.next(call)).toMatchObject({ name: 'STREAM_DONE', args: null });
});

test('the heartbeats of a client of version 2 grant room', async () => {
  const { count } = counter(3);
  const { port } = await startServer({ count });
  const peers = await startPeers(port);
  const call = peers.call('count', [], { header: { v: 2 } });
  expect(await take(peers, call, 1)).toEqual([0]);
  peers.event(call, '_zpc_hb', [0]);
  peers.event(call, '_zpc_hb', [1]);
  expect(await take(peers, call, 1)).toEqual([1]);
  peers.event(call, '_zpc_hb', [9]);
  expect(await take(peers, call, 2)).toEqual([2, 'STREAM_DONE']);
});

test('those of version 3 do not', async () => {
  const { seen, count } = counter(3);
  const { port } = await startServer({ count });
  const peers = await startPeers(port);
  const call = peers.call('count', []);
  peers.event(call, '_zpc_hb', [9]);
  await take(peers, call, 1);
  await peers.next(peers.call('_zerorpc_ping', []));
  expect(seen.made).toBe(1);
});

test('a stream that fails ends with the error', async () => {
  const { count } = counter(1, new ZeroRpcError('ValueError', 'no more'));
  const { port, faults } = await startServer({ count });
  const peers = await startPeers(port);
  const call = peers.call('count', []);
  peers.event(call, '_zpc_more', [5]);
  expect(await take(peers, call, 2)).toEqual([0, 'ERR']);
  expect(faults).toEqual([]);
});

test('an item that cannot be told ends the stream, and its maker hears of it', async () => {
  const seen = { isEnded: false };
  const { port, faults } = await startServer({
    odd: method(async function* () {
      try {
        yield () => 1;
      } finally {
        seen.isEnded = true;
      }
    }),
  });
  const peers = await startPeers(port);
  expect(await peers.next(peers.call('odd', []))).toMatchObject({ name: 'ERR' });
  await eventually(() => seen.isEnded).toBe(true);
  expect(faults).toMatchObject([{ name: 'TypeError' }]);
});

test('a client that is lost ends its stream, also one that waits for what never comes', async () => {
  const { seen, count } = counter(9);
  const never = { isAborted: false };
  const { port, faults } = await startServer(
    {
      count,
      never: method(async function* (_args, { signal }) {
        signal.addEventListener('abort', () => (never.isAborted = true));
        await new Promise(() => undefined);
        yield 1;
      }),
    },
    { beatMs: 100 },
  );
  const peers = await startPeers(port);
  await take(peers, peers.call('count', []), 1);
  peers.call('never', []);
  await eventually(() => [seen.isEnded, never.isAborted]).toEqual([true, true]);
  expect(faults).toEqual([]);
});

test('slow readers of streams hold up neither others nor memory', async () => {
  let made = 0;
  const { port, budget, faults } = await startServer(
    {
      large: method(async function* () {
        for (let n = 0; n < 200; n += 1) {
          made += 1;
          yield Buffer.alloc(MiB, n);
        }
      }),
    },
    { limits: { maxQueuedBytesPerPeer: 8 * MiB } },
  );
  const peers = await startPeers(port, 'sizes');
  peers.command({ do: 'open', client: 1, options: { RCVHWM: 1, RCVBUF: 65_536 } });
  peers.command({ do: 'pause', client: 1 });
  const slow = peers.call('large', [], { client: 1 });
  peers.event(slow, '_zpc_more', [1_000], 1);
  await eventually(() => budget.held).toBeGreaterThan(2 * MiB);
  // Another one's pace, meanwhile.
  const started = performance.now();
  for (let n = 0; n < 50; n += 1) await peers.next(peers.call('_zerorpc_ping', []));
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(made).toBeLessThan(40);
  expect(budget.held).toBeLessThan(10 * MiB);
  peers.command({ do: 'resume', client: 1 });
  for (let n = 0; n < 200; n += 1) {
    expect(await peers.next(slow, 1)).toMatchObject({ name: 'STREAM' });
  }
  expect(await peers.next(slow, 1)).toMatchObject({ name: 'STREAM_DONE' });
  await eventually(() => budget.held).toBe(0);
  expect(faults).toEqual([]);
});
