import { expect, onTestFinished, test, vi } from 'vitest';
import type { Logger } from '@inference-server/service-kit';
import { createCrowdLog } from '../src/crowd-log.js';

test('a flood of connections is a line in a minute, with how many they were since the last', () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const told: unknown[] = [];
  const logger = { warn: (line: unknown) => told.push(line) } as unknown as Logger;
  const note = createCrowdLog(logger);
  for (let n = 0; n < 1_000; n += 1) note();
  expect(told).toEqual([{ connections: 1 }]);
  vi.advanceTimersByTime(60_000);
  expect(told).toEqual([{ connections: 1 }, { connections: 999 }]);
  for (let n = 0; n < 10; n += 1) note();
  // Also those that are the last for long are told of; then it is quiet, and the next is told of at once.
  vi.advanceTimersByTime(600_000);
  expect(told.slice(2)).toEqual([{ connections: 10 }]);
  note();
  expect(told.slice(3)).toEqual([{ connections: 1 }]);
});
