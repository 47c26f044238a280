import { expect, it } from 'vitest';
import { slotOveruse } from '../src/checks/slot-use.js';
import type { ContainerEvent } from '../src/world/engine-events.js';

const slots = (id: string) => (id === 'a' ? 2 : id === 'gpu' ? 1 : 0);
let now = 1_700_000_000_000_000_000n;

it('lets a consumer use what it has, one after the other', () => {
  const events = [start('a', '1'), start('a', '2'), start('gpu', '9'), die('a', '1')];
  expect(slotOveruse([...events, start('a', '3'), die('a', '2'), start('a', '4')], slots)).toEqual(
    [],
  );
});

it('finds one container too many, though it was gone soon', () => {
  const events = [start('a', '1'), start('a', '2'), start('a', '3'), die('a', '3')];
  expect(slotOveruse([...events, start('gpu', '9')], slots)).toEqual(['a: 3 at once, 2 slots']);
});

it('goes by the time of the engine, to the nanosecond, not by when it was heard', () => {
  const [first, end, second] = oneAfterTheOther();
  expect(slotOveruse([second, end, first], slots)).toEqual([]);
  const early = { ...second, timeNano: String(BigInt(end.timeNano) - 1n) };
  const late = { ...end, timeNano: second.timeNano };
  expect(slotOveruse([first, late, early], slots)).toEqual(['gpu: 2 at once, 1 slots']);
});

it('counts a container until it is dead, not until it is told to end', () => {
  const [first, end, second] = oneAfterTheOther();
  const killed = { ...end, action: 'kill' as const };
  expect(slotOveruse([first, end, second], slots)).toEqual([]);
  expect(slotOveruse([first, killed, second], slots)).toEqual(['gpu: 2 at once, 1 slots']);
});

it('takes a container that was removed for dead', () => {
  const [first, end, second] = oneAfterTheOther();
  expect(slotOveruse([first, { ...end, action: 'destroy' }, second], slots)).toEqual([]);
});

it('counts no probes', () => {
  const probe = { ...start('gpu', '8'), kind: 'probe' };
  expect(slotOveruse([start('gpu', '1'), probe], slots)).toEqual([]);
});

it('finds what runs for a consumer that nobody knows', () => {
  expect(slotOveruse([start('stranger', '1')], slots)).toEqual(['stranger: 1 at once, 0 slots']);
});

function oneAfterTheOther(): [ContainerEvent, ContainerEvent, ContainerEvent] {
  return [start('gpu', '1'), die('gpu', '1'), start('gpu', '2')];
}

function start(consumer: string, container: string): ContainerEvent {
  return {
    engine: 'engine',
    action: 'start',
    container,
    task: `task ${container}`,
    attempt: 1,
    kind: 'run',
    consumer,
    exitCode: undefined,
    timeNano: String((now += 1n)),
  };
}

function die(consumer: string, container: string): ContainerEvent {
  return { ...start(consumer, container), action: 'die', exitCode: 0 };
}
