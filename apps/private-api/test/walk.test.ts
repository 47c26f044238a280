import { expect, it } from 'vitest';
import type { Amount } from '../src/retention/sweep.js';
import { inSteps } from '../src/retention/walk.js';

const one: Amount = { count: 1, bytes: 2 };

/** A walk of two steps, and what became of each that was begun. */
function recorded(stepTwo: (signal: AbortSignal) => Promise<Amount> = async () => one) {
  const walks: string[] = [];
  const take = inSteps(async function* (signal) {
    const at = walks.push('begun') - 1;
    try {
      yield one;
      yield await stepTwo(signal);
      walks[at] = 'done';
    } finally {
      if (walks[at] === 'begun') walks[at] = 'given up';
    }
  });
  return { walks, take };
}

it('goes one step at each call, and begins anew at the end', async () => {
  const { walks, take } = recorded();
  const { signal } = new AbortController();
  for (const at of [1, 2]) {
    expect(await take(signal)).toEqual({ ...one, more: true });
    expect(await take(signal)).toEqual({ ...one, more: true });
    expect(await take(signal)).toEqual({ count: 0, bytes: 0, more: false });
    expect(walks).toEqual(Array.from({ length: at }, () => 'done'));
  }
});

it('begins anew after a failure', async () => {
  const { walks, take } = recorded(() => Promise.reject(new Error('no disk')));
  const { signal } = new AbortController();
  await take(signal);
  await expect(take(signal)).rejects.toThrow('no disk');
  expect(await take(signal)).toEqual({ ...one, more: true });
  expect(walks).toEqual(['given up', 'begun']);
});

it('is given up between two steps when its signal aborts, and leaves nothing open', async () => {
  const { walks, take } = recorded();
  const ending = new AbortController();
  await take(ending.signal);
  ending.abort(new Error('over'));
  await expect.poll(() => walks).toEqual(['given up']);
  await expect(take(ending.signal)).rejects.toThrow('over');
  expect(await take(new AbortController().signal)).toEqual({ ...one, more: true });
  expect(walks).toEqual(['given up', 'begun']);
});
