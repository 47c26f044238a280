import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { createByteBudget } from '@inference-server/grpc';
import { returnIdleMemory } from '../src/idle-memory.js';

const MiB = 1024 ** 2;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
});

/** A budget, and how often its memory was given back. */
function counted() {
  const seen = { collections: 0 };
  const budget = returnIdleMemory(createByteBudget(100 * MiB), () => (seen.collections += 1));
  const hold = (bytes: number) => expect(budget.take(bytes)).toBe(true);
  return { seen, budget, hold };
}

test('once nothing has been held for a second, memory is given back', () => {
  const { seen, budget, hold } = counted();
  hold(20 * MiB);
  vi.advanceTimersByTime(10_000);
  budget.give(20 * MiB);
  vi.advanceTimersByTime(999);
  expect(seen.collections).toBe(0);
  vi.advanceTimersByTime(1);
  expect(seen.collections).toBe(1);
  vi.advanceTimersByTime(60_000);
  expect(seen.collections).toBe(1);
});

test('what is held again within the second puts it off, until that is given back, too', () => {
  const { seen, budget, hold } = counted();
  hold(20 * MiB);
  budget.give(20 * MiB);
  vi.advanceTimersByTime(500);
  hold(1);
  vi.advanceTimersByTime(5_000);
  expect(seen.collections).toBe(0);
  budget.give(1);
  vi.advanceTimersByTime(900);
  hold(1);
  budget.give(1);
  vi.advanceTimersByTime(900);
  expect(seen.collections).toBe(0);
  vi.advanceTimersByTime(100);
  expect(seen.collections).toBe(1);
});

test('small messages add up', () => {
  const { seen, budget, hold } = counted();
  for (let n = 0; n < 20; n += 1) {
    hold(MiB);
    budget.give(MiB);
    vi.advanceTimersByTime(5_000);
    expect(seen.collections).toBe(n < 15 ? 0 : 1);
  }
});

test('what is refused was not taken, and one that is closed does nothing more', () => {
  const { seen, budget, hold } = counted();
  expect(budget.take(101 * MiB)).toBe(false);
  hold(1);
  budget.give(1);
  vi.advanceTimersByTime(5_000);
  hold(100 * MiB);
  budget.give(100 * MiB);
  budget.close();
  vi.advanceTimersByTime(5_000);
  expect(seen.collections).toBe(0);
});

test('the memory of buffers is given back indeed', () => {
  const before = process.memoryUsage().arrayBuffers;
  const budget = returnIdleMemory(createByteBudget(100 * MiB));
  expect(budget.take(64 * MiB)).toBe(true);
  // Nobody keeps it.
  Buffer.alloc(64 * MiB);
  budget.give(64 * MiB);
  vi.advanceTimersByTime(1_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * MiB);
});
