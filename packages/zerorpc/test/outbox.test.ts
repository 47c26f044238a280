import { expect, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { createOutbox } from '../src/outbox.js';

test('a message that finds no room has left all the same', () => {
  const outbox = createOutbox({
    router: { send: () => 'full', waitingSince: () => undefined },
    budget: createByteBudget(8_000),
    ...{ maxBytes: 8_000, maxMessages: 8 },
    ...{ onLost: () => undefined, onFault: () => undefined },
  });
  const to = { id: '1', address: '127.0.0.1', isTrusted: false };
  let left = 0;
  const put = () => outbox.put(to, { frames: [], bytes: 5_000, onLeft: () => (left += 1) });
  expect([put(), left]).toEqual([true, 0]);
  expect([put(), left]).toEqual([false, 1]);
  outbox.close();
  expect(left).toBe(2);
});
