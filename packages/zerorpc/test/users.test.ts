import { expect, test } from 'vitest';
import { ZeroRpcError } from '../src/index.js';
import { runClient, startClient } from '@inference-server/testing';
import { eventually, method, startServer } from './peers.js';

const echo = method(async ([value]) => value);
const count = method(async function* ([last]) {
  for (let n = 0; n < Number(last); n += 1) yield n;
});
const versions = [1, 2, 3];

test.each(versions)('a client of version %i calls, and hears of errors', async (v) => {
  const refuse = method(() => {
    throw new ZeroRpcError('ValueError', "It's wrong.");
  });
  const { port, faults } = await startServer({ echo, refuse });
  const value = { text: 'ü', list: [1, 2.5, null, true] };
  const answered = (await runClient(port, { v }, 'echo', value)).at(-1);
  expect(answered).toMatchObject({ what: 'result', value });
  const refused = (await runClient(port, { v }, 'refuse')).at(-1);
  const error =
    v === 1
      ? ["ValueError('It\\'s wrong.')"]
      : ['ValueError', "It's wrong.", "ValueError: It's wrong."];
  expect(refused).toMatchObject({ what: 'RemoteError', value: error });
  expect(faults).toEqual([]);
});

test.each([1, 2, 3, 100])(
  'a stream comes whole, in order, %i items ahead at most',
  async (ahead) => {
    const { port, budget, dropped } = await startServer({ count });
    const told = await Promise.all(
      versions.map((v) => runClient(port, { ahead, v }, 'count', 500)),
    );
    for (const all of told) expect(all.at(-1)).toMatchObject({ what: 'result', value: 500 });
    await eventually(() => budget.held).toBe(0);
    // Room that is granted for what does not come any more belongs to nothing.
    expect(dropped.filter((reason) => reason !== 'channel')).toEqual([]);
  },
);

test('a client that is killed in the midst of a stream ends it', async () => {
  const seen = { made: 0, isEnded: false };
  const endless = method(async function* () {
    try {
      for (; ; seen.made += 1) yield seen.made;
    } finally {
      seen.isEnded = true;
    }
  });
  const { port, faults } = await startServer({ endless }, { beatMs: 60_000 });
  const client = startClient(port, { ahead: 5, stall: [3, 60] }, 'endless');
  await eventually(() => seen.made).toBeGreaterThan(2);
  expect(seen.isEnded).toBe(false);
  client.kill();
  await eventually(() => seen.isEnded).toBe(true);
  expect(faults).toEqual([]);
});
