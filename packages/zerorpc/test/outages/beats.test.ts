import { expect, test } from 'vitest';
import { ZeroRpcError } from '../../src/index.js';
import { runClient, startClient } from '@inference-server/testing';
import { eventually, method, startServer } from '../peers.js';

/** Clients and server beat every 5 s here, as in life. */
const sleep = method(
  ([ms], { signal }) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve('done'), Number(ms));
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      });
    }),
);

const count = method(async function* ([last]) {
  for (let n = 0; n < Number(last); n += 1) yield n;
});

test('calls and streams of 20 s live by heartbeats, and silent clients are lost', async () => {
  const lost: unknown[] = [];
  const silence = method(
    (_args, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          lost.push((signal.reason as Error).message);
          reject(signal.reason as Error);
        });
      }),
  );
  const fail = method(
    () =>
      new Promise((_resolve, reject) => {
        setTimeout(() => reject(new ZeroRpcError('ValueError', 'late')), 20_000);
      }),
  );
  const server = await startServer({ sleep, count, fail, silence });
  const run = (options: object, name: string, ...args: unknown[]) =>
    runClient(server.port, options, name, ...args);
  const asleep = startClient(server.port, { passive: true, timeout: 60 }, 'silence');
  await eventually(() => server.budget.held).toBeGreaterThan(0);
  asleep.pause();

  const [active, passive, second, failing, stalling, secondStalling, silent] = await Promise.all([
    run({}, 'sleep', 20_000),
    run({ passive: true }, 'sleep', 20_000),
    run({ v: 2 }, 'sleep', 20_000),
    run({}, 'fail'),
    run({ ahead: 10, stall: [25, 20], timeout: 60 }, 'count', 200),
    run({ ahead: 10, stall: [25, 20], timeout: 60, v: 2 }, 'count', 200),
    run({ silent: true }, 'silence'),
  ]);
  for (const told of [active, passive, second]) {
    expect(told.at(-1)).toMatchObject({ what: 'result', value: 'done' });
  }
  const late = ['ValueError', 'late', 'ValueError: late'];
  expect(failing.at(-1)).toMatchObject({ what: 'RemoteError', value: late });
  for (const told of [stalling, secondStalling]) {
    expect(told.at(-1)).toMatchObject({ what: 'result', value: 200 });
  }
  for (const told of [active, passive, second, failing]) {
    // One more may come just before the answer.
    const beats = told.filter(({ what, seconds }) => what === 'beat' && seconds < 18);
    expect(beats).toHaveLength(3);
    for (const [n, { seconds }] of beats.entries()) {
      expect(Math.abs(seconds - 5 * (n + 1))).toBeLessThan(2);
    }
  }

  // 10 s after the heartbeat that should have come at 5 s, an error comes to who can still hear it.
  const value = ['LostRemote', 'Lost remote after 10s heartbeat', expect.any(String)];
  expect(silent.at(-1)).toMatchObject({ what: 'RemoteError', value });
  expect(Math.abs(silent.at(-1)!.seconds - 15)).toBeLessThan(3);
  asleep.resume();
  expect((await asleep.told()).at(-1)).toMatchObject({ what: 'RemoteError', value });
  expect(lost).toEqual([value[1], value[1]]);
  await eventually(() => server.budget.held).toBe(0);
  expect(server.faults).toEqual([]);
}, 60_000);
