import { expect, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { eventually, method, MiB, startPeers, startServer } from './peers.js';

/** Short where clients are to be lost, and longer where they are not to be. */
const beatMs = 100;
const easyBeatMs = 400;

/** A method that ends when its call is ended. */
function hanging() {
  const seen: { reason: unknown; calls: number } = { reason: undefined, calls: 0 };
  const hang = method(
    (_args, { signal }) =>
      new Promise((_resolve, reject) => {
        seen.calls += 1;
        signal.addEventListener('abort', () => {
          seen.reason = signal.reason;
          reject(signal.reason as Error);
        });
      }),
  );
  return { seen, hang };
}

test('heartbeats come unprompted while a call runs, and end with it', async () => {
  let answer = (_value: unknown) => {};
  const { port } = await startServer(
    { wait: method(() => new Promise((resolve) => (answer = resolve))) },
    { beatMs: easyBeatMs },
  );
  const peers = await startPeers(port);
  const id = { $bin: 'c0ffee' };
  peers.call('wait', [], { id });
  // A passive client: it answers the first one.
  await eventually(() => peers.came.length).toBeGreaterThan(0);
  peers.command({ do: 'beat', client: 0, channel: id, every: easyBeatMs / 1_000 });
  await eventually(() => peers.came.length).toBeGreaterThan(6);
  expect(peers.came.every(({ name, to }) => name === '_zpc_hb' && 'c0ffee' === hex(to))).toBe(true);
  expect(peers.came[0]).toMatchObject({ args: [0] });
  answer('at last');
  expect(await peers.next(id)).toMatchObject({ name: 'OK', args: ['at last'] });
  const beats = peers.came.length;
  await new Promise((resolve) => setTimeout(resolve, 2 * easyBeatMs));
  expect(peers.came.length).toBe(beats);
});

test('a call has its time, and no more, however often its client beats', async () => {
  const { seen, hang } = hanging();
  const { port, budget } = await startServer({ hang }, { beatMs: easyBeatMs, maxCallMs: 600 });
  const peers = await startPeers(port);
  const began = performance.now();
  const call = peers.call('hang', []);
  peers.command({ do: 'beat', client: 0, channel: call, every: easyBeatMs / 1_000 });
  const args = ['TimeoutError', 'The call was not answered in time.', expect.any(String)];
  expect(await peers.next(call)).toMatchObject({ name: 'ERR', args });
  expect(performance.now() - began).toBeGreaterThan(590);
  expect(seen.reason).toMatchObject({ name: 'TimeoutError' });
  await eventually(() => budget.held).toBe(0);
});

test('a client that is not read for want of room is not silent', async () => {
  const budget = createByteBudget(8 * MiB);
  const { seen, hang } = hanging();
  const trusting = method((args, call) => {
    call.connection.isTrusted = true;
    return hang.call(args, call);
  });
  const { port } = await startServer({ hang: trusting }, { beatMs, budget });
  const peers = await startPeers(port);
  const id = peers.call('hang', []);
  await eventually(() => seen.calls).toBe(1);
  const { held } = budget;
  budget.take(8 * MiB - held);
  peers.call('hang', [{ $bytes: 4 * MiB }]);
  peers.command({ do: 'beat', client: 0, channel: id, every: beatMs / 1_000 });
  await new Promise((resolve) => setTimeout(resolve, 10 * beatMs));
  expect(seen).toEqual({ reason: undefined, calls: 1 });
  budget.give(8 * MiB - held);
  await eventually(() => seen.calls).toBe(2);
});

test('a client that is silent for two heartbeats is lost', async () => {
  const { seen, hang } = hanging();
  const { port, budget, faults } = await startServer({ hang }, { beatMs: easyBeatMs });
  const peers = await startPeers(port);
  const call = peers.call('hang', []);
  peers.command({ do: 'beat', client: 0, channel: call, every: easyBeatMs / 1_000 });
  await eventually(() => peers.came.length).toBeGreaterThan(5);
  expect(seen.reason).toBe(undefined);
  peers.command({ do: 'still', client: 0 });
  const began = performance.now();
  await eventually(() => seen.reason).toMatchObject({ name: 'LostRemote' });
  expect(performance.now() - began).toBeGreaterThan(easyBeatMs / 2);
  await eventually(() => budget.held).toBe(0);
  expect(faults).toEqual([]);
});

test('a server that stood still takes nobody for lost', async () => {
  let answer = (_value: unknown) => {};
  const { port } = await startServer(
    { wait: method(() => new Promise((resolve) => (answer = resolve))) },
    { beatMs: easyBeatMs },
  );
  const peers = await startPeers(port);
  const call = peers.call('wait', []);
  peers.command({ do: 'beat', client: 0, channel: call, every: easyBeatMs / 1_000 });
  await eventually(() => peers.came.length).toBeGreaterThan(0);
  for (const began = performance.now(); performance.now() - began < 4 * easyBeatMs;);
  const beats = peers.came.length;
  await eventually(() => peers.came.length).toBeGreaterThan(beats + 1);
  answer('still there');
  expect(await peers.next(call)).toMatchObject({ name: 'OK', args: ['still there'] });
});

test('one that vanishes is lost at once, and others are not', async () => {
  const { seen, hang } = hanging();
  const { port, budget } = await startServer({ hang }, { beatMs: 60_000 });
  const vanishing = await startPeers(port);
  const staying = await startPeers(port);
  vanishing.call('hang', []);
  await eventually(() => seen.calls).toBe(1);
  await vanishing.kill();
  await eventually(() => seen.reason).toMatchObject({ name: 'LostRemote' });
  await eventually(() => budget.held).toBe(0);
  expect((await staying.next(staying.call('_zerorpc_name', []))).name).toBe('OK');
});

test('a client that says nothing from the start is lost after three', async () => {
  const { seen, hang } = hanging();
  const { port } = await startServer({ hang }, { beatMs });
  const peers = await startPeers(port);
  const began = performance.now();
  const call = peers.call('hang', []);
  await eventually(() => seen.reason).toMatchObject({ name: 'LostRemote' });
  expect(performance.now() - began).toBeGreaterThan(2.9 * beatMs);
  // What it says now belongs to nothing.
  peers.event(call, '_zpc_more', [1]);
  expect((await peers.next(peers.call('_zerorpc_ping', []))).name).toBe('OK');
});

test('what a method answers after its client is lost goes nowhere, and its room is taken until then', async () => {
  let end = (_value: unknown) => {};
  const { port, budget, faults } = await startServer(
    { deaf: method(() => new Promise((resolve) => (end = resolve))) },
    { beatMs, limits: { maxCallsPerPeer: 1 } },
  );
  const peers = await startPeers(port);
  const call = peers.call('deaf', []);
  // One that was only asleep hears of it.
  expect(await peers.next(call)).toMatchObject({ name: 'ERR', args: ['LostRemote', {}, {}] });
  const refused = await peers.next(peers.call('deaf', []));
  expect(refused).toMatchObject({ name: 'ERR', args: ['TooManyCalls', {}, {}] });
  expect(budget.held).toBeGreaterThan(0);
  end('late');
  await eventually(() => budget.held).toBe(0);
  expect((await peers.next(peers.call('_zerorpc_ping', []))).name).toBe('OK');
  expect(peers.came.filter(({ to, name }) => to === call && name !== '_zpc_hb')).toEqual([]);
  expect(faults).toEqual([]);
});

test('a call under an id that is in use is not begun', async () => {
  const { seen, hang } = hanging();
  const { port, dropped } = await startServer({ hang });
  const peers = await startPeers(port);
  peers.call('hang', [], { id: 'one' });
  peers.call('hang', [], { id: 'one' });
  // Another client may have the same.
  peers.call('hang', [], { id: 'one', client: 1 });
  await eventually(() => [seen.calls, dropped]).toEqual([2, ['repeated']]);
});

function hex(id: unknown): unknown {
  return (id as { $bin: string }).$bin;
}
