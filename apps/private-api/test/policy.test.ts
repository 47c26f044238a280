import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignTickets, type RoomyConsumer, type WaitingTask } from '../src/dispatcher/policy.js';

const task = (uid: string, rest: Partial<WaitingTask> = {}): WaitingTask => ({
  uid,
  attempt: 1,
  useGpu: false,
  lastConsumerId: null,
  ...rest,
});
const cpu = (id: string, room: number): RoomyConsumer => ({ id, room, hasGpu: false });

describe('assignTickets', () => {
  it('serves the oldest first and gives no more than there is room for', () => {
    const waiting = [task('a'), task('b'), task('c')];
    expect(assignTickets(waiting, [cpu('x', 2)]).map(({ uid }) => uid)).toEqual(['a', 'b']);
  });

  it('spreads tasks over the consumers with the most room', () => {
    const assigned = assignTickets([task('a'), task('b'), task('c')], [cpu('x', 1), cpu('y', 3)]);
    expect(assigned.map(({ consumerId }) => consumerId)).toEqual(['y', 'y', 'x']);
  });

  it('keeps CPU tasks off GPUs and GPU tasks off CPUs', () => {
    const consumers = [cpu('x', 5), { id: 'g', room: 5, hasGpu: true }];
    const assigned = assignTickets([task('a', { useGpu: true }), task('b')], consumers);
    expect(assigned).toMatchObject([
      { uid: 'a', consumerId: 'g' },
      { uid: 'b', consumerId: 'x' },
    ]);
  });

  it('avoids the consumer that lost the task, if there is another', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x' });
    expect(assignTickets([lost], [cpu('x', 5), cpu('y', 1)])[0]?.consumerId).toBe('y');
    expect(assignTickets([lost], [cpu('x', 5)])[0]?.consumerId).toBe('x');
  });

  it('never gives a task twice, more than the room, or to who cannot run it', () => {
    const consumers = fc.uniqueArray(
      fc.record({ id: fc.string({ minLength: 1 }), room: fc.nat(4), hasGpu: fc.boolean() }),
      { selector: ({ id }) => id },
    );
    const tasks = fc.uniqueArray(
      fc.record({
        uid: fc.string(),
        attempt: fc.constant(1),
        useGpu: fc.boolean(),
        lastConsumerId: fc.option(fc.string({ minLength: 1 })),
      }),
      { selector: ({ uid }) => uid },
    );
    fc.assert(
      fc.property(tasks, consumers, (waiting, able) => {
        const assigned = assignTickets(waiting, able);
        expect(new Set(assigned.map(({ uid }) => uid)).size).toBe(assigned.length);
        for (const { id, room, hasGpu } of able) {
          const own = assigned.filter(({ consumerId }) => consumerId === id);
          expect(own.length).toBeLessThanOrEqual(room);
          for (const { uid } of own) {
            expect(waiting.find((other) => other.uid === uid)?.useGpu).toBe(hasGpu);
          }
        }
        // Nobody waits while there is room for it.
        for (const useGpu of [false, true]) {
          const wanted = waiting.filter((other) => other.useGpu === useGpu).length;
          const room = able
            .filter(({ hasGpu }) => hasGpu === useGpu)
            .reduce((sum, consumer) => sum + consumer.room, 0);
          const given = assigned.filter(
            ({ uid }) => waiting.find((other) => other.uid === uid)?.useGpu === useGpu,
          ).length;
          expect(given).toBe(Math.min(wanted, room));
        }
      }),
    );
  });
});
