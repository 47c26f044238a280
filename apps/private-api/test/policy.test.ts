import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFor, type Needs } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import {
  askOf,
  assignTickets,
  openBooks,
  type BusyTask,
  type WaitingTask,
} from '../src/dispatcher/policy.js';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import * as has from './capacities.js';

let arrived = 0;
/** Each came after those that were made before it. */
const task = (uid: string, rest: Partial<WaitingTask> = {}): WaitingTask => ({
  uid,
  attempt: 1,
  seq: (arrived += 1),
  versionId: JSON.stringify(rest.needs),
  needs: needs(),
  lastConsumerId: null,
  shunsLast: false,
  ...rest,
});
const cpu = (id: string, slots: number, more: Partial<ReadyConsumer> = {}): ReadyConsumer => ({
  id,
  ...has.cpu({ slots, ...more }),
});
const gpu = (id: string, memory: number | null, more: Partial<ReadyConsumer> = {}) => ({
  id,
  ...has.gpu(memory, { slots: 8, ...more }),
});
/** Of a task that came before all others, unless it says otherwise. */
const busy = (consumerId: string, more: Partial<Needs> = {}, lenders: string[] = []): BusyTask => ({
  consumerId,
  lenders,
  seq: 0,
  needs: needs(more),
});
const whole = needs({ use_gpu: true });
const of = (memory: number) => needs({ use_gpu: true, gpu_memory_mib: memory });
const greedy = { ...of(30), gpu_memory_exceeded: true };

/** Who got what, in short. */
function given(
  waiting: readonly WaitingTask[],
  consumers: readonly ReadyConsumer[],
  under: readonly BusyTask[] = [],
): string[] {
  return assignTickets(waiting, consumers, under).map(
    ({ uid, consumerId, lenders }) => `${uid}: ${[consumerId, ...lenders].join('+')}`,
  );
}

describe('assignTickets', () => {
  it('serves the oldest first and gives no more than there is room for', () => {
    const waiting = [task('a'), task('b'), task('c')];
    expect(given(waiting, [cpu('x', 2)])).toEqual(['a: x', 'b: x']);
    expect(given(waiting, [cpu('x', 2)], [busy('x')])).toEqual(['a: x']);
  });

  it('spreads CPU work over the consumers with the most free slots', () => {
    const waiting = [task('a'), task('b'), task('c')];
    expect(given(waiting, [cpu('x', 1), cpu('y', 3)])).toEqual(['a: y', 'b: y', 'c: x']);
  });

  it('keeps CPU tasks off GPUs and GPU tasks off CPUs', () => {
    const waiting = [task('a', { needs: whole }), task('b'), task('c'), task('d')];
    expect(given(waiting, [cpu('x', 1), gpu('g', 100)])).toEqual(['a: g', 'b: x']);
  });

  it('avoids the consumer that lost the task, if there is another', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x' });
    expect(given([lost], [cpu('x', 5), cpu('y', 1)])).toEqual(['a: y']);
    expect(given([lost], [cpu('x', 5)])).toEqual(['a: x']);
    expect(given([lost], [cpu('x', 5), cpu('y', 1)], [busy('y')])).toEqual(['a: x']);
  });

  it('keeps what shuns a consumer for another that is full, also when it has room', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x', shunsLast: true });
    const full = [busy('y')];
    const consumers = [cpu('x', 5), cpu('y', 1)];
    expect(given([lost, task('b')], consumers, full)).toEqual(['b: x']);
    expect(given([lost], consumers)).toEqual(['a: y']);
    // Only until it is told not to shun it any more.
    expect(given([{ ...lost, shunsLast: false }], consumers, full)).toEqual(['a: x']);
  });

  it('keeps nothing for a consumer that could not run it', () => {
    const lost = task('a', { attempt: 2, lastConsumerId: 'x', shunsLast: true });
    for (const other of [
      gpu('g', 100),
      cpu('y', 1, { share: { cpus: 0.1, memory_mib: 1, memory_per_task_mib: null } }),
    ]) {
      const asks = { ...lost, needs: needs({ cpus: 1 }) };
      expect(given([asks], [cpu('x', 1), other])).toEqual(['a: x']);
    }
  });

  it.each<[string, WaitingTask[], ReadyConsumer[], BusyTask[], string[]]>([
    [
      'gives a GPU to one that does not say how much of it',
      [task('a', { needs: whole }), task('b', { needs: whole }), task('c', { needs: of(1) })],
      [gpu('g', 100)],
      [],
      ['a: g'],
    ],
    [
      'gives it to none while another is there',
      [task('a', { needs: whole })],
      [gpu('g', 100)],
      [busy('g', of(1))],
      [],
    ],
    [
      'lets several share a GPU whose sum fits',
      [task('a', { needs: of(50) }), task('b', { needs: of(40) }), task('c', { needs: of(11) })],
      [gpu('g', 100)],
      [],
      ['a: g', 'b: g'],
    ],
    [
      'lets no more share one than there are slots',
      ['a', 'b', 'c'].map((uid) => task(uid, { needs: of(1) })),
      [gpu('g', 100, { slots: 2 })],
      [],
      ['a: g', 'b: g'],
    ],
    [
      'lets none share one of which nobody knows how much it has',
      [task('a', { needs: of(1) }), task('b', { needs: of(1) })],
      [gpu('g', null)],
      [],
      ['a: g'],
    ],
    [
      'fills the GPU on which it fits tightest, so that the other stays free',
      [task('a', { needs: of(30) }), task('b', { needs: whole })],
      [gpu('g', 100), gpu('h', 100)],
      [busy('h', of(60))],
      ['a: h', 'b: g'],
    ],
    [
      'takes the smaller of two GPUs for one that has it alone',
      [task('a', { needs: whole })],
      [gpu('g', 100), gpu('h', 50)],
      [],
      ['a: h'],
    ],
    [
      'takes the largest of two GPUs for one that takes more than it says, alone',
      [task('a', { needs: greedy }), task('b', { needs: of(10) })],
      [gpu('g', 100), gpu('h', 50)],
      [],
      ['a: g', 'b: h'],
    ],
    [
      'counts cores',
      ['a', 'b', 'c'].map((uid) => task(uid, { needs: needs({ cpus: 3 }) })),
      [cpu('x', 8)],
      [],
      ['a: x', 'b: x'],
    ],
    [
      'counts memory, and what those take that say nothing',
      [task('a', { needs: needs({ memory_mib: 6_145 }) })],
      [cpu('x', 4)],
      [busy('x')],
      [],
    ],
    [
      'gives two GPUs of one process to one that wants two',
      [task('a', { needs: needs({ use_gpu: true, gpu_count: 2 }) })],
      [
        gpu('g', 100, { process: 'p' }),
        gpu('h', 100, { process: 'q' }),
        gpu('i', 100, { process: 'q' }),
      ],
      [],
      ['a: h+i'],
    ],
    [
      'counts what is lent',
      [task('a', { needs: whole })],
      [gpu('g', 100), gpu('h', 100)],
      [busy('g', { use_gpu: true, gpu_count: 2 }, ['h'])],
      [],
    ],
    [
      'goes only where all labels are',
      [task('a', { needs: needs({ labels: { disk: 'nvme' } }) })],
      [cpu('x', 9, { labels: { disk: 'hdd' } }), cpu('y', 1, { labels: { disk: 'nvme' } })],
      [],
      ['a: y'],
    ],
  ])('%s', (_what, waiting, consumers, under, expected) => {
    expect(given(waiting, consumers, under)).toEqual(expected);
  });
});

describe('what fits nowhere now', () => {
  const big = task('big', { needs: whole });
  const small = (uid: string) => task(uid, { needs: of(10) });

  it('keeps the place that is the first to be free', () => {
    const consumers = [gpu('g', 100), gpu('h', 100)];
    const under = [busy('g', of(50)), busy('g', of(10)), busy('h', of(50))];
    expect(given([big, small('a'), small('b')], consumers, under)).toEqual(['a: g', 'b: g']);
  });

  it('keeps the only one', () => {
    expect(given([big, small('a')], [gpu('g', 100)], [busy('g', of(50))])).toEqual([]);
  });

  it('keeps no more than half of a kind for the younger', () => {
    const ids = ['f', 'g', 'h', 'i'];
    const consumers = ids.map((id) => gpu(id, 100));
    const under = ids.map((id) => busy(id, of(50)));
    const bigs = ['a', 'b', 'c'].map((uid) => task(uid, { needs: whole }));
    // Two of that model keep theirs, the third none.
    expect(given([...bigs, small('s')], consumers, under)).toEqual(['s: h']);
  });

  it('keeps no other for what has less on it that came later', () => {
    const wide = task('wide', { needs: needs({ cpus: 8 }) });
    const later = { ...busy('y'), seq: wide.seq + 1 };
    const consumers = [cpu('x', 4), cpu('y', 4)];
    // Two that run since before it on the one, one that came after it on the other.
    const under = [busy('x'), busy('x'), later];
    expect(given([wide, task('a'), task('b')], consumers, under)).toEqual(['a: y', 'b: y']);
  });

  it('keeps one for each model, whatever the others keep', () => {
    const bound = task('bound', { needs: needs({ labels: { site: 'x' } }) });
    const wide = task('wide', { needs: needs({ cpus: 8 }) });
    const consumers = [cpu('x', 1, { labels: { site: 'x' } }), cpu('y', 4)];
    expect(given([bound, wide, task('a')], consumers, [busy('x'), busy('y')])).toEqual([]);
  });

  it('keeps as many as it needs for the oldest, be they all', () => {
    const two = task('two', { needs: needs({ use_gpu: true, gpu_count: 2 }) });
    const consumers = [gpu('g', 100), gpu('h', 100)];
    expect(given([two, small('a')], consumers, [busy('g', of(50))])).toEqual([]);
  });

  it('keeps no GPU for CPU work, and none that could not run it', () => {
    const wide = task('wide', { needs: needs({ cpus: 8 }) });
    const consumers = [
      cpu('x', 4),
      cpu('y', 4, { share: { cpus: 4, memory_mib: 8_192, memory_per_task_mib: null } }),
      gpu('g', 100),
    ];
    expect(given([wide, small('a'), task('b')], consumers, [busy('x')])).toEqual(['a: g', 'b: y']);
  });

  it('comes to its turn while small ones come all the time', () => {
    const consumers = [gpu('g', 100), gpu('h', 100)];
    // Each runs for so many rounds.
    let under = [
      { ...busy('g', of(60)), left: 9 },
      { ...busy('h', of(60)), left: 3 },
    ];
    let waiting = [big];
    for (let round = 0; round < 10; round += 1) {
      waiting = [...waiting, small(`${round}a`), small(`${round}b`)];
      const assigned = assignTickets(waiting, consumers, under);
      if (assigned.some(({ uid }) => uid === 'big')) {
        // No later than what had run when it came.
        expect(round).toBeLessThanOrEqual(9);
        return;
      }
      const started = assigned.map(({ uid, consumerId }) => ({
        ...busy(consumerId, waiting.find((one) => one.uid === uid)?.needs),
        seq: waiting.find((one) => one.uid === uid)?.seq ?? 0,
        left: 4,
      }));
      under = [...under, ...started].map((one) => ({ ...one, left: one.left - 1 }));
      under = under.filter(({ left }) => left > 0);
      waiting = waiting.filter(({ uid }) => !assigned.some((one) => one.uid === uid));
    }
    expect.unreachable('the large task never had its turn');
  });
});

// Few names, so that tasks shun consumers that there are.
const id = fc.constantFrom('x', 'y', 'z', 'g', 'h', 'i');
const anyNeeds = fc.oneof(
  fc.record({ cpus: fc.option(fc.constantFrom(0.5, 2, 8, 9)) }).map(needs),
  fc
    .record({
      use_gpu: fc.constant(true),
      gpu_count: fc.constantFrom(1, 1, 1, 2),
      gpu_memory_mib: fc.option(fc.constantFrom(10, 50, 100, 101)),
    })
    .map(needs),
);
const tasks = fc.uniqueArray(
  fc
    .record({
      uid: fc.string(),
      needs: anyNeeds,
      lastConsumerId: fc.option(id),
      shunsLast: fc.boolean(),
    })
    .map((one) => task(one.uid, one)),
  { selector: ({ uid }) => uid, maxLength: 12 },
);
const ready = fc
  .uniqueArray(
    fc.tuple(
      id,
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom('p', 'q'),
      fc.constantFrom(100, 50, null),
    ),
    { selector: ([one]) => one },
  )
  .map((all) =>
    all.map(([name, slots, process, memory]) =>
      'xyz'.includes(name) ? cpu(name, slots, { process }) : gpu(name, memory, { slots, process }),
    ),
  );

describe('whatever waits and whoever is there', () => {
  it('nothing is given twice, beyond what there is, or to who cannot run it', () => {
    fc.assert(
      fc.property(tasks, ready, (waiting, consumers) => {
        const assigned = assignTickets(waiting, consumers, []);
        expect(new Set(assigned.map(({ uid }) => uid)).size).toBe(assigned.length);
        const needsByUid = new Map(waiting.map((one) => [one.uid, one.needs]));
        const taken = assigned.flatMap(({ uid, consumerId, lenders }) =>
          [consumerId, ...lenders].map((consumer) => ({ consumer, needs: needsByUid.get(uid)! })),
        );
        for (const { uid, consumerId, lenders } of assigned) {
          const all = [consumerId, ...lenders].map((one) =>
            consumers.find(({ id }) => id === one)!,
          );
          expect(new Set(all.map(({ id }) => id)).size).toBe(needsByUid.get(uid)!.gpu_count);
          expect(new Set(all.map(({ process }) => process)).size).toBe(1);
        }
        for (const consumer of consumers) {
          const own = taken.filter((one) => one.consumer === consumer.id).map((one) => one.needs);
          for (const one of own) expect(isFor(one, consumer)).toBe(true);
          expect(own.length).toBeLessThanOrEqual(consumer.slots);
          const memory = consumer.device?.memory_mib ?? null;
          const isAlone = own.some((one) => one.use_gpu && (one.gpu_memory_mib ?? memory) === null);
          const wants = own.map((one) => (memory === null ? null : one.gpu_memory_mib));
          if (consumer.device !== null && (isAlone || wants.includes(null))) {
            expect(own).toHaveLength(1);
          } else {
            const sum = wants.reduce<number>((all, one) => all + (one ?? 0), 0);
            expect(sum).toBeLessThanOrEqual(memory ?? 0);
          }
          const cpus = own.map((one) => one.cpus ?? (one.use_gpu ? 0 : 8 / consumer.slots));
          expect(cpus.reduce((all, one) => all + one, 0)).toBeLessThanOrEqual(8.001);
        }
      }),
    );
  });

  it('all that could ever run comes to its turn, in passes that read no more than they must', () => {
    fc.assert(
      fc.property(tasks, ready, (waiting, consumers) => {
        let backlog = waiting;
        // What is given away ends before the next pass, and after some minutes nothing is shunned.
        for (let pass = 0; pass < 2 * waiting.length + 1; pass += 1) {
          const kinds = new Map(backlog.map((one) => [JSON.stringify(one.needs), one.needs]));
          const books = openBooks(consumers, []);
          const read = [...kinds].flatMap(([kind, of]) => {
            const asked = askOf(kind, of, books);
            if (asked === undefined) return [];
            return backlog
              .filter((one) => JSON.stringify(one.needs) === kind)
              .filter(
                (one) => !one.shunsLast || !asked.notShunning.includes(one.lastConsumerId ?? ''),
              )
              .slice(0, asked.most);
          });
          const inOrder = backlog.filter((one) => read.includes(one));
          const assigned = assignTickets(inOrder, consumers, []);
          backlog = backlog.filter(({ uid }) => !assigned.some((one) => one.uid === uid));
          if (pass === waiting.length)
            backlog = backlog.map((one) => ({ ...one, shunsLast: false }));
        }
        for (const { needs: of } of backlog) {
          const able = consumers.filter((consumer) => isFor(of, consumer));
          const inOne = (process: string) => able.filter((one) => one.process === process).length;
          expect(Math.max(0, ...able.map(({ process }) => inOne(process)))).toBeLessThan(
            of.gpu_count,
          );
        }
      }),
    );
  });
});
