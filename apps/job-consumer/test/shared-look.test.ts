import { expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { shareLook } from '../src/devices/shared-look.js';

const never = new AbortController().signal;

/** Each look is numbered, and ends when it is told to. */
function open(options: { withinMs?: number; freshForMs?: number } = {}) {
  const ends: { resolve(): void; reject(error: Error): void; signal: AbortSignal }[] = [];
  const look = (signal: AbortSignal) =>
    new Promise<number>((resolve, reject) => {
      const number = ends.length + 1;
      ends.push({ resolve: () => resolve(number), reject, signal });
    });
  return { ends, ...shareLook(look, { withinMs: 60_000, ...options }) };
}

it('is made once for all who ask meanwhile', async () => {
  const { ends, ask } = open();
  const asked = [ask(never), ask(never)];
  ends[0]!.resolve();
  expect(await Promise.all(asked)).toEqual([1, 1]);
  const later = ask(never);
  ends[1]!.resolve();
  expect(await later).toBe(2);
});

it('is of use for a while', async () => {
  const { ends, ask } = open({ freshForMs: 300 });
  const first = ask(never);
  ends[0]!.resolve();
  expect([await first, await ask(never)]).toEqual([1, 1]);
  await expect.poll(() => (void ask(never), ends.length)).toBe(2);
  ends[1]!.resolve();
  expect(await ask(never)).toBe(2);
});

it('fails for all who asked, and is made anew for the next', async () => {
  const { ends, ask } = open();
  const asked = [ask(never), ask(never)];
  const failure = new AppError('INTERNAL', 'no');
  ends[0]!.reject(failure);
  for (const one of asked) await expect(one).rejects.toBe(failure);
  const later = ask(never);
  ends[1]!.resolve();
  expect(await later).toBe(2);
});

it('goes on for the others when somebody gives up', async () => {
  const { ends, ask } = open();
  const giving = new AbortController();
  const [givesUp, waits] = [ask(giving.signal), ask(never)];
  const reason = new AppError('CONFLICT', 'enough');
  giving.abort(reason);
  await expect(givesUp).rejects.toBe(reason);
  expect(ends[0]!.signal.aborted).toBe(false);
  ends[0]!.resolve();
  expect(await waits).toBe(1);
  await expect(ask(AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(ends).toHaveLength(1);
});

it('is told when it takes too long, whoever waits for it', async () => {
  const { ends, ask } = open({ withinMs: 50 });
  const asked = ask(never);
  await expect.poll(() => ends[0]!.signal.aborted).toBe(true);
  ends[0]!.reject(ends[0]!.signal.reason as Error);
  await expect(asked).rejects.toMatchObject({ name: 'TimeoutError' });
});

it('is made anew for whoever must not be shown what was seen before, once for all of them', async () => {
  const { ends, ask, askAnew } = open({ freshForMs: 60_000 });
  const before = ask(never);
  const anew = [askAnew(never), askAnew(never)];
  ends[0]!.resolve();
  expect(await before).toBe(1);
  await expect.poll(() => ends.length).toBe(2);
  ends[1]!.resolve();
  expect(await Promise.all(anew)).toEqual([2, 2]);
  const later = askAnew(never);
  ends[2]!.resolve();
  expect(await later).toBe(3);
});
