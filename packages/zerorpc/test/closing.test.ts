import { expect, test } from 'vitest';
import { method, startPeers, startServer } from './peers.js';

test('calls that are under way have the grace time, and new ones hear that it ends', async () => {
  let answer = (_value: unknown) => {};
  const { port, server, faults } = await startServer({
    wait: method(() => new Promise((resolve) => (answer = resolve))),
  });
  const peers = await startPeers(port);
  const call = peers.call('wait', []);
  await peers.next(peers.call('_zerorpc_ping', []));
  const closed = server.close(20_000);
  const refused = await peers.next(peers.call('wait', []));
  expect(refused).toMatchObject({ name: 'ERR', args: ['ServerStopping', {}, {}] });
  answer('done');
  expect(await peers.next(call)).toMatchObject({ name: 'OK', args: ['done'] });
  await closed;
  expect(faults).toEqual([]);
});

test('those that take longer end with an error: calls, streams, and methods that do not listen', async () => {
  let aborted = 0;
  const { port, server, faults } = await startServer({
    wait: method((_args, { signal }) => {
      signal.addEventListener('abort', () => (aborted += 1));
      return new Promise(() => undefined);
    }),
    stream: method(async function* () {
      for (let n = 0; ; n += 1) yield n;
    }),
  });
  const peers = await startPeers(port);
  const wait = peers.call('wait', []);
  const first = peers.call('wait', [], { header: { v: 1 } });
  const stream = peers.call('stream', []);
  expect((await peers.next(stream)).name).toBe('STREAM');
  const began = performance.now();
  await server.close(100);
  expect(performance.now() - began).toBeLessThan(5_000);
  for (const call of [wait, stream]) {
    expect(await peers.next(call)).toMatchObject({ name: 'ERR', args: ['ServerStopping', {}, {}] });
  }
  expect((await peers.next(first)).args).toEqual(["ServerStopping('The server is stopping.')"]);
  expect([aborted, faults]).toEqual([2, []]);
});

test('it closes twice, unused, and while a client reads nothing', async () => {
  const { port, server } = await startServer({ large: method(() => Buffer.alloc(30_000_000)) });
  const peers = await startPeers(port, 'sizes');
  peers.command({ do: 'open', client: 1, options: { RCVHWM: 1, RCVBUF: 65_536 } });
  peers.command({ do: 'pause', client: 1 });
  for (let n = 0; n < 20; n += 1) peers.call('large', [], { client: 1 });
  await peers.next(peers.call('_zerorpc_ping', []));
  const began = performance.now();
  await Promise.all([server.close(100), server.close(100)]);
  expect(performance.now() - began).toBeLessThan(5_000);
  const unused = await startServer({});
  await unused.server.close(0);
});

test('one that begins at the same address finds its clients again, whose calls have ended', async () => {
  const methods = { wait: method(() => new Promise(() => undefined)) };
  const { port, server } = await startServer(methods);
  const peers = await startPeers(port);
  const call = peers.call('wait', []);
  await peers.next(peers.call('_zerorpc_ping', []));
  await server.close(0);
  expect((await peers.next(call)).args).toMatchObject(['ServerStopping', {}, {}]);
  const { dropped, faults } = await startServer(methods, { port });
  // ZeroMQ connects a client again by itself, and sends then what it has.
  expect((await peers.next(peers.call('_zerorpc_ping', []))).name).toBe('OK');
  peers.event(call, '_zpc_hb', [0]);
  expect((await peers.next(peers.call('_zerorpc_ping', []))).name).toBe('OK');
  expect([dropped, faults]).toEqual([['channel'], []]);
});

test('a port that is taken is an error of listen', async () => {
  const { port } = await startServer({});
  await expect(startServer({}, { port })).rejects.toThrow();
});
