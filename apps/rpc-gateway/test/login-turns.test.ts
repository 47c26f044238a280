import { setMaxListeners } from 'node:events';
import { expect, test } from 'vitest';
import { createLoginTurns } from '../src/login-turns.js';
import { deferred } from './scene.js';

const never = new AbortController().signal;
const soonAfter = () => new Promise((resolve) => setImmediate(resolve));

test('two of a network log in at a time, the others after them; other networks wait for none of them', async () => {
  const logins = createLoginTurns();
  const gates = Array.from({ length: 5 }, () => deferred());
  const begun: number[] = [];
  const all = gates.map(({ promise }, n) =>
    logins.inTurn('192.0.2.1', never, async () => {
      begun.push(n);
      await promise;
      return n;
    }),
  );
  await soonAfter();
  expect(begun).toEqual([0, 1]);
  expect(await logins.inTurn('192.0.2.2', never, async () => 'other')).toBe('other');
  gates[1]?.resolve();
  await all[1];
  await soonAfter();
  expect(begun).toEqual([0, 1, 2]);
  for (const { resolve } of gates) resolve();
  expect(await Promise.all(all)).toEqual([0, 1, 2, 3, 4]);
});

test('so many wait, and who goes or fails makes room', async () => {
  const logins = createLoginTurns();
  const end = new AbortController();
  setMaxListeners(0, end.signal, never);
  const gate = deferred();
  const fails = () =>
    logins.inTurn('2001:db8::1', end.signal, async () => {
      await gate.promise;
      throw new Error('wrong');
    });
  const all = Promise.allSettled(Array.from({ length: 64 }, fails));
  // Of IPv6 a whole network is one address.
  const more = () => logins.inTurn('2001:db8::2', never, async () => 'in');
  await expect(more()).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' });
  end.abort(new Error('gone'));
  gate.resolve();
  const reasons = (await all).map((one) => one.status === 'rejected' && String(one.reason));
  expect(reasons.filter((reason) => reason === 'Error: wrong').length).toBe(2);
  expect(reasons.filter((reason) => reason === 'Error: gone').length).toBe(62);
  expect(await more()).toBe('in');
});
