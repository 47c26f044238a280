import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  aloneWithRoom,
  assignTickets,
  type ReadyConsumer,
  type WaitingTask,
} from '../src/dispatcher/policy.js';

const task = (uid: string, rest: Partial<WaitingTask> = {}): WaitingTask => ({
  uid,
  attempt: 1,
  useGpu: false,
  lastConsumerId: null,
  shunsLast: false,
  ...rest,
});
const cpu = (id: string, room: number): ReadyConsumer => ({ id, room, hasGpu: false });

// Few names, so that tasks shun consumers that there are.
const id = fc.constantFrom('x', 'y', 'z');
const consumers = fc.uniqueArray(fc.record({ id, room: fc.nat(4), hasGpu: fc.boolean() }), {
  selector: ({ id }) => id,
});
const tasks = fc.uniqueArray(
  fc.record({
    uid: fc.string(),
    attempt: fc.constant(1),
    useGpu: fc.boolean(),
    lastConsumerId: fc.option(id),
    shunsLast: fc.boolean(),
  }),
  { selector: ({ uid }) => uid },
);

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

  it('keeps what shuns a consumer for another that is full, also when it has room', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x', shunsLast: true });
    expect(assignTickets([lost, task('b')], [cpu('x', 5), cpu('y', 0)])).toMatchObject([
      { uid: 'b', consumerId: 'x' },
    ]);
    expect(assignTickets([lost], [cpu('x', 5), cpu('y', 1)])).toMatchObject([{ consumerId: 'y' }]);
    // Only until it is told not to shun it any more.
    const late = { ...lost, shunsLast: false };
    expect(assignTickets([late], [cpu('x', 5), cpu('y', 0)])).toMatchObject([{ consumerId: 'x' }]);
  });

  it('keeps nothing for a consumer that could not run it', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x', shunsLast: true });
    const gpu = { id: 'g', room: 0, hasGpu: true };
    for (const consumers of [[cpu('x', 1)], [cpu('x', 1), gpu]]) {
      expect(assignTickets([lost], consumers)).toMatchObject([{ consumerId: 'x' }]);
    }
  });

  it('never gives a task twice, more than the room, or to who cannot run it', () => {
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
        // Who waits shuns the one consumer that still has room for it, or there is none that has.
        for (const left of waiting.filter(
          ({ uid }) => !assigned.some((other) => other.uid === uid),
        )) {
          const open = able.filter(
            ({ id, hasGpu, room }) =>
              hasGpu === left.useGpu &&
              assigned.filter(({ consumerId }) => consumerId === id).length < room,
          );
          expect(open.map(({ id }) => id)).toEqual(
            open.length > 0 && left.shunsLast ? [left.lastConsumerId] : [],
          );
        }
      }),
    );
  });

  it('fills every consumer that has room, at most one pass later', () => {
    fc.assert(
      fc.property(tasks, consumers, (waiting, able) => {
        const ofKind = able.filter(({ hasGpu }) => !hasGpu);
        let backlog = waiting.filter(({ useGpu }) => !useGpu);
        let now = ofKind;
        for (let pass = 0; pass <= ofKind.length; pass += 1) {
          // As the statement reads them.
          const alone = aloneWithRoom(now);
          const room = now.reduce((sum, consumer) => sum + consumer.room, 0);
          const read = backlog
            .filter((one) => alone === null || !one.shunsLast || one.lastConsumerId !== alone)
            .slice(0, room);
          const assigned = assignTickets(read, now);
          // A pass that reads anything gives something away: the change wakes the next.
          if (read.length > 0) expect(assigned.length).toBeGreaterThan(0);
          backlog = backlog.filter(({ uid }) => !assigned.some((other) => other.uid === uid));
          now = now.map((consumer) => ({
            ...consumer,
            room:
              consumer.room -
              assigned.filter(({ consumerId }) => consumerId === consumer.id).length,
          }));
        }
        for (const { id, room } of now) {
          if (room === 0) continue;
          expect(backlog.filter((one) => !one.shunsLast || one.lastConsumerId !== id)).toEqual([]);
        }
      }),
    );
  });
});
