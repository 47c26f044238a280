import { afterEach, expect, test, vi } from 'vitest';
import { createRefusalLimit } from '../src/callers/refusal-limit.js';

afterEach(() => void vi.useRealTimers());

const waits = expect.objectContaining({ code: 'TOO_MANY_REQUESTS', retryAfterS: 60 }) as Error;

test('what opens nothing is counted for a minute, by network', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const limit = createRefusalLimit(2);
  for (const address of ['2001:db8::1', '2001:db8::2']) {
    limit.requireFew(address);
    limit.count(address);
  }
  expect(() => limit.requireFew('2001:db8::3')).toThrow(waits);
  limit.requireFew('2001:db8:1::1');
  vi.advanceTimersByTime(60_000);
  limit.requireFew('2001:db8::3');
});

test.each([
  ['this machine', 1, '127.0.0.1'],
  ['where there is no limit', 0, '192.0.2.1'],
])('nothing is counted: %s', (_what, most, address) => {
  const limit = createRefusalLimit(most);
  for (let n = 0; n < 10; n += 1) {
    limit.requireFew(address);
    limit.count(address);
  }
});

test('of very many networks some are forgotten', () => {
  const limit = createRefusalLimit(1);
  for (let n = 0; n <= 10_000; n += 1) limit.count(`10.1.${n >> 8}.${n & 255}`);
  limit.requireFew('10.1.0.0');
  expect(() => limit.requireFew('10.1.0.1')).toThrow(waits);
});
