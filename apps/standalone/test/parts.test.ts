import { describe, expect, test } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { createParts, type LivingPart } from '../src/parts.js';

/** A process whose end the test decides. */
function living(pid: number) {
  let end: (how: { code: number | null; signal: null }) => void = () => undefined;
  const ended: LivingPart['ended'] = new Promise((resolve) => (end = resolve));
  return {
    pid,
    ended,
    stops: 0,
    die: (code: number) => end({ code, signal: null }),
    async stop() {
      this.stops += 1;
      end({ code: 0, signal: null });
    },
  };
}

function setup() {
  const lines: string[] = [];
  const stopping = new AbortController();
  const broken: string[] = [];
  const parts = createParts({
    print: (text) => lines.push(text),
    signal: stopping.signal,
    onBroken: ({ message }) => broken.push(message),
  });
  return { parts, lines, broken, stopping };
}

describe('createParts', () => {
  test('stops the last first, and goes on when one cannot be stopped', async () => {
    const { parts, lines } = setup();
    const order: string[] = [];
    parts.add({ name: 'a', stop: async () => void order.push('a') });
    parts.add({ name: 'b', stop: () => Promise.reject(new Error('stuck')) });
    parts.add({ name: 'c', stop: async () => void order.push('c') });
    expect(await parts.stopAll()).toBe(false);
    expect(order).toEqual(['c', 'a']);
    expect(lines).toContain('  b could not be stopped: stuck');
  });

  test('the end of a vital part is reported once, its stop is not', async () => {
    const { parts, broken, stopping } = setup();
    const database = living(1);
    await parts.startVital('Database', async () => database);
    database.die(2);
    await waitUntil(() => broken.length > 0, { timeoutMs: 1_000 });
    expect(broken).toEqual(['Database has ended (exit code 2).']);
    stopping.abort();
    expect(await parts.stopAll()).toBe(true);
    expect(broken).toHaveLength(1);
  });

  test('a kept part is started again after its end, and after a start that fails', async () => {
    const { parts, lines, broken, stopping } = setup();
    const first = living(1);
    const third = living(3);
    const starts = [first, undefined, third];
    await parts.startKept('app', async () => {
      const next = starts.shift();
      if (next === undefined) throw new Error('no luck');
      return next;
    });
    first.die(1);
    await waitUntil(() => lines.includes('app runs again (process 3)'), { timeoutMs: 10_000 });
    expect(lines).toEqual([
      'app has ended (exit code 1); starting it again in 1 s',
      'app could not be started again: no luck',
      'app runs again (process 3)',
    ]);
    stopping.abort();
    expect(await parts.stopAll()).toBe(true);
    expect(third.stops).toBe(1);
    expect(broken).toEqual([]);
  });

  test('a part that comes up again while everything stops is stopped too', async () => {
    const { parts, stopping } = setup();
    const first = living(1);
    const second = living(2);
    const starts = [first, second];
    let startedAgain = false;
    await parts.startKept('app', async () => {
      const next = starts.shift()!;
      if (next === second) {
        startedAgain = true;
        await waitUntil(() => stopping.signal.aborted, { timeoutMs: 10_000, everyMs: 5 });
      }
      return next;
    });
    first.die(1);
    await waitUntil(() => startedAgain, { timeoutMs: 10_000 });
    stopping.abort();
    expect(await parts.stopAll()).toBe(true);
    expect(second.stops).toBe(1);
  });
});
