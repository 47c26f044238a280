import { expect, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { eventually, method, MiB, startPeers, startServer, type Came } from './peers.js';

const echo = method(async (args) => args[0]);

test('20 clients at once, 50 calls each at a time', async () => {
  const { port, budget, faults, dropped } = await startServer({ echo });
  const peers = await startPeers(port);
  const answers: Promise<[unknown, Came]>[] = [];
  for (let n = 0; n < 50; n += 1) {
    for (let client = 0; client < 20; client += 1) {
      const value = `${client}:${n}`;
      const call = peers.call('echo', [value], { client, id: `same${n}` });
      answers.push(peers.next(call, client).then((came) => [[value], came]));
    }
  }
  for (const [value, came] of await Promise.all(answers)) expect(came.args).toEqual(value);
  await eventually(() => budget.held).toBe(0);
  expect([faults, dropped]).toEqual([[], []]);
});

test('a client that never reads loses its answers, and others keep their pace', async () => {
  const lost: unknown[] = [];
  const { port, budget, dropped, faults } = await startServer(
    {
      echo,
      large: method((_args, { signal }) => {
        signal.addEventListener('abort', () => lost.push(signal.reason));
        return Buffer.alloc(MiB);
      }),
    },
    { beatMs: 200, limits: { maxQueuedBytesPerPeer: 8 * MiB } },
  );
  const peers = await startPeers(port, 'sizes');
  peers.command({ do: 'open', client: 1, options: { RCVHWM: 1, RCVBUF: 65_536 } });
  peers.command({ do: 'pause', client: 1 });
  for (let n = 0; n < 100; n += 1) peers.call('large', [], { client: 1 });
  const started = performance.now();
  let most = 0;
  for (let n = 0; n < 200; n += 1) {
    await peers.next(peers.call('echo', [n]));
    most = Math.max(most, budget.held);
  }
  expect(performance.now() - started).toBeLessThan(10_000);
  expect(most).toBeLessThan(16 * MiB);
  // It says nothing either: its calls are lost, one by one.
  await eventually(() => lost.length).toBeGreaterThan(50);
  expect(lost[0]).toMatchObject({ name: 'LostRemote' });
  // What waits for it still goes with its connection.
  await peers.kill();
  await eventually(() => budget.held).toBe(0);
  expect([dropped.includes('peer-gone'), faults]).toEqual([true, []]);
});

test('where all the room is taken, those that take nothing make way', async () => {
  const budget = createByteBudget(12 * MiB);
  const { port, dropped, faults } = await startServer(
    { echo, large: method(() => Buffer.alloc(MiB)) },
    { budget, limits: { maxQueuedBytesPerPeer: 64 * MiB } },
  );
  const peers = await startPeers(port, 'sizes');
  for (const client of [1, 2, 3]) {
    peers.command({ do: 'open', client, options: { RCVHWM: 1, RCVBUF: 65_536 } });
    peers.command({ do: 'pause', client });
  }
  // What their systems take is out of it.
  await eventually(() => {
    for (const client of [1, 2, 3]) peers.call('large', [], { client });
    return dropped.includes('peer-stuck');
  }).toBe(true);
  // One that was only slow so far is given a moment.
  const one = () => peers.next(peers.call('echo', [{ $bytes: MiB }]));
  await eventually(async () => (await one()).name).toBe('OK');
  for (let n = 0; n < 20; n += 1) {
    expect(await peers.next(peers.call('large', []))).toMatchObject({ name: 'OK' });
  }
  expect(budget.held).toBeLessThanOrEqual(12 * MiB);
  expect(faults).toEqual([]);
});

test('the requests of one client have their bounds, and those of others do not count', async () => {
  const answers: ((value: unknown) => void)[] = [];
  const { port, budget } = await startServer(
    { wait: method(() => new Promise((resolve) => answers.push(resolve))) },
    { limits: { maxRequestBytesPerPeer: 3 * MiB } },
  );
  const peers = await startPeers(port);
  const send = (size: number, client = 0) => peers.call('wait', [{ $bytes: size }], { client });
  // The first is taken, however large it is.
  const first = send(4 * MiB);
  expect((await peers.next(send(1))).args).toMatchObject(['TooManyCalls', {}, {}]);
  send(MiB, 1);
  send(MiB, 1);
  expect((await peers.next(send(MiB, 1), 1)).args).toMatchObject(['TooManyCalls', {}, {}]);
  await eventually(() => answers.length).toBe(3);
  for (const answer of answers) answer(1);
  expect((await peers.next(first)).name).toBe('OK');
  await eventually(() => budget.held).toBe(0);
  send(3 * MiB, 1);
  await eventually(() => answers.length).toBe(4);
  answers.at(-1)?.(1);
});
