import { expect, test } from 'vitest';
import { createTurns } from '../src/core/turns.js';

const never = new AbortController().signal;

/** Has each turn told, in order, until all have had one. */
async function orderOf(most: number, wanted: string[]): Promise<string[]> {
  const turns = createTurns(most);
  const streams = new Map(wanted.map((name) => [name, { name }]));
  const order: string[] = [];
  await Promise.all(
    wanted.map(async (name) => {
      const leave = await turns.take('echo', streams.get(name) ?? {}, never);
      order.push(name);
      await Promise.resolve();
      leave();
    }),
  );
  return order;
}

test('streams take turns, one after the other', async () => {
  expect(await orderOf(1, ['a', 'a', 'a', 'a', 'b', 'b', 'c'])).toEqual([
    ...['a', 'a', 'b', 'c', 'a', 'b', 'a'],
  ]);
});

test('there are never more at a time, and each model has its own', async () => {
  const turns = createTurns(2);
  const [first, second] = [{}, {}];
  const leave = await turns.take('echo', first, never);
  await turns.take('echo', first, never);
  await turns.take('other', first, never);
  let has = 0;
  const third = turns.take('echo', second, never).then(() => (has += 1));
  const fourth = turns.take('echo', first, never).then(() => (has += 1));
  await new Promise((resolve) => setImmediate(resolve));
  expect(has).toBe(0);
  leave();
  await third;
  await new Promise((resolve) => setImmediate(resolve));
  expect(has).toBe(1);
  leave();
  await fourth;
});

test('who goes away has no turn', async () => {
  const turns = createTurns(1);
  const leave = await turns.take('echo', {}, never);
  const end = new AbortController();
  const gone = turns.take('echo', {}, end.signal);
  const next = turns.take('echo', {}, never);
  end.abort(new Error('gone'));
  await expect(gone).rejects.toThrow('gone');
  leave();
  await next;
  await expect(turns.take('echo', {}, end.signal)).rejects.toThrow('gone');
});
