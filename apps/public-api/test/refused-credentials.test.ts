import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { knownForMs } from '@inference-server/service-kit';
import { startLimited } from './rates-scene.js';
import { deferred, keyOf, someToken, wrongKey } from './servers.js';

describe('private-api is not asked', () => {
  test.each([
    ['a word', 'somebody'],
    ['a key of another length', keyOf('a').slice(0, -1)],
    ['a key of other letters', keyOf('1')],
    ['a key and more', `${keyOf('a')}=`],
    ['a token without a signature', 'ist_claims.'],
    ['a token that is too long', `ist_${'a'.repeat(1_501)}.${'A'.repeat(43)}`],
    ['a token of a service', `public-api.${'A'.repeat(43)}`],
  ])('for what is no key and no token: %s', async (_what, key) => {
    const { ask, identified } = await startLimited({});
    expect(await ask({ key })).toMatchObject({ status: 401, body: { code: 'UNAUTHORIZED' } });
    expect(identified).toEqual([]);
  });

  test('twice for one key at a time, however long it takes', async () => {
    const { ask, identified } = await startLimited({ identify: () => sleep(3 * knownForMs) });
    const answers = [];
    for (let at = 0; at < 8; at += 1) {
      answers.push(ask());
      await sleep(knownForMs / 4);
    }
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    expect(identified).toHaveLength(1);
  });
});

test('a token is asked for as a key is', async () => {
  const { ask, identified } = await startLimited({});
  expect(await ask({ key: someToken })).toMatchObject({ status: 200 });
  expect(identified).toEqual([someToken]);
});

test('an address that shows much that opens nothing is asked to wait; what has opened lately opens', async () => {
  const { ask, identified } = await startLimited({});
  expect(await ask()).toMatchObject({ status: 200 });
  for (let at = 0; at < 60; at += 1)
    expect(await ask({ key: wrongKey })).toMatchObject({ status: 401 });
  const asked = identified.length;
  for (const key of [wrongKey, keyOf('b')]) {
    const refused = await ask({ key });
    expect(refused).toMatchObject({
      status: 429,
      body: { code: 'TOO_MANY_REQUESTS', quota: { policy: 'refusals-per-address', limit: 60 } },
    });
    expect(refused.retryAfterS).toBeGreaterThan(0);
    expect(refused.retryAfterS).toBeLessThanOrEqual(60);
  }
  expect(identified).toHaveLength(asked);
  expect(await ask()).toMatchObject({ status: 200 });
  expect(await ask({ key: keyOf('b'), from: '203.0.113.2' })).toMatchObject({ status: 200 });
});

test.each([
  ['are counted to the setting', 2, [401, 401, 429]],
  ['are not counted where the setting is 0', 0, Array<number>(70).fill(401)],
])('keys that open nothing %s', async (_what, refusalsPerAddress, statuses) => {
  const { ask } = await startLimited({ rates: { refusalsPerAddress } });
  for (const status of statuses) expect(await ask({ key: wrongKey })).toMatchObject({ status });
});

test('keys that are made up keep nobody waiting whose key has opened lately', async () => {
  const hold = deferred();
  const { ask, identified } = await startLimited({
    identify: (bearer) => (bearer === keyOf('a') ? Promise.resolve() : hold.promise),
  });
  expect(await ask()).toMatchObject({ status: 200 });
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  const made = Array.from(
    { length: 100 },
    (_, at) =>
      `isk_${`z${letters[at % 26]}${letters[Math.floor(at / 26)]}`.padEnd(16, 'q')}_${'A'.repeat(43)}`,
  );
  const held = made.map((key) => ask({ key }));
  await expect.poll(() => identified.length, { timeout: 10_000 }).toBe(101);
  const refused = await ask({ key: keyOf('b') });
  expect(refused).toMatchObject({ status: 503, body: { code: 'SERVICE_UNAVAILABLE' } });
  expect(refused.retryAfterS).toBeGreaterThan(0);
  await sleep(knownForMs);
  expect(await ask()).toMatchObject({ status: 200 });
  expect(identified).toHaveLength(102);
  hold.resolve();
  for (const { status } of await Promise.all(held)) expect(status).toBe(200);
  expect(await ask({ key: keyOf('b') })).toMatchObject({ status: 200 });
});
