import { connect } from 'node:http2';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { createTurns } from '../src/server/turns.js';
import { startServer } from './servers.js';

test('work is begun in its order: some of it at once, and as much in each turn that follows', async () => {
  const inTurn = createTurns();
  const begun: number[] = [];
  for (let n = 0; n < 10; n += 1) inTurn(() => begun.push(n));
  expect(begun).toEqual([0, 1, 2, 3]);
  // What comes in between waits behind what came before.
  await turn();
  expect(begun.length).toBe(8);
  inTurn(() => begun.push(10));
  expect(begun.length).toBe(8);
  await turn();
  await turn();
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  // At rest there is room again.
  await turn();
  inTurn(() => begun.push(11));
  expect(begun.at(-1)).toBe(11);
});

test('work that begins more of it has that wait, too', async () => {
  const inTurn = createTurns();
  let begun = 0;
  const again = () => {
    begun += 1;
    if (begun < 100) inTurn(again);
  };
  inTurn(again);
  expect(begun).toBe(4);
  await turn();
  expect(begun).toBeLessThanOrEqual(8);
});

test('a call that ends before its turn is not begun', async () => {
  let begun = 0;
  let onFirst = () => {};
  const { address } = await startServer({
    '/t.T/Hold': () => {
      begun += 1;
      if (begun === 1) onFirst();
      return { unary: () => new Promise(() => undefined) };
    },
  });
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  const streams = Array.from({ length: 200 }, () => {
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/t.T/Hold', 'content-type': 'application/grpc' },
    });
    return stream.on('error', () => undefined);
  });
  onFirst = () => streams.forEach((stream) => stream.close(8));
  await Promise.all(
    streams.map((stream) => new Promise((resolve) => stream.once('close', resolve))),
  );
  for (let n = 0; n < 60; n += 1) await turn();
  expect(begun).toBeLessThan(100);
});
