import { describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import { makeRoomForTasks, pauseMs } from '../src/dispatcher/replica-policy.js';
import { createReplicaRoom } from '../src/dispatcher/replica-room.js';
import * as has from './capacities.js';
import { planOf, replica, version } from './replica-world.js';

const nothing = { starts: [], drains: [], keptFor: [], starved: [] };
/** Of 1000 MiB, without what a task usually has. */
const cpu = (id: string, more: Partial<ReadyConsumer> = {}): ReadyConsumer => {
  const share = { cpus: 8, memory_mib: 1_000, cpus_per_task: null, memory_per_task_mib: 250 };
  return { id, ...has.cpu({ share, ...more }) };
};
const gpu = (id: string, memory = 1_000, more: Partial<ReadyConsumer> = {}): ReadyConsumer => ({
  id,
  ...has.gpu(memory, { slots: 8, ...more }),
});
const onGpu = (memory: number | null) => needs({ use_gpu: true, gpu_memory_mib: memory });
const rested = { idleMs: 60_000 };
const task = (of = needs()) => ({
  ...{ uid: 't', attempt: 1, seq: 1, versionId: 'batch', needs: of },
  ...{ lastConsumerId: null, shunsLast: false },
});

describe('how many replicas there are', () => {
  it.each([
    ['none without calls', {}, 0],
    ['one for the first that waits', { waiting: 1, targetInFlight: 8 }, 1],
    [
      'as many as the calls need',
      { waiting: 3, inFlight: 2, targetInFlight: 2, maxReplicas: 9 },
      3,
    ],
    ['no more than the most', { waiting: 100, maxReplicas: 2 }, 2],
    ['the least of them without calls', { minReplicas: 2, maxReplicas: 3 }, 2],
  ])('%s', (_what, more, count) => {
    const small = needs({ memory_mib: 10 });
    const plan = planOf({
      versions: [version('v', { needs: small, ...more })],
      consumers: [cpu('c')],
    });
    expect(plan.starts).toHaveLength(count);
  });

  it('is not more while one starts', () => {
    const wanted = version('v', { waiting: 1 });
    const starting = replica('r', wanted, 'c', { state: 'STARTING' });
    expect(planOf({ versions: [wanted], replicas: [starting], consumers: [cpu('c')] })).toEqual(
      nothing,
    );
  });

  it('is less when one was idle for its time-out, but not than the least', () => {
    const kept = version('v', { idleTimeoutMs: 1_000, minReplicas: 1, maxReplicas: 3 });
    const replicas = [
      replica('called', kept, 'c'),
      replica('long idle', kept, 'c', { idleMs: 5_000 }),
      replica('idle', kept, 'c', { idleMs: 2_000 }),
      replica('busy', kept, 'c', { idleMs: 9_000, inFlight: 1 }),
    ];
    const { drains } = planOf({ versions: [kept], replicas, consumers: [cpu('c')] });
    expect(drains.map(({ id, why }) => [id, why])).toEqual([
      ['long idle', 'idle'],
      ['idle', 'idle'],
    ]);
  });

  it('is not less while one starts, for however long, nor before the next serves', () => {
    const called = version('v', { idleTimeoutMs: 1_000, maxReplicas: 3 });
    const starting = replica('starting', called, 'c', { ...rested, state: 'STARTING' });
    const consumers = [cpu('c')];
    expect(planOf({ versions: [called], replicas: [starting], consumers })).toEqual(nothing);
    const kept = { ...called, minReplicas: 1 };
    const replicas = [starting, replica('serves', kept, 'c', rested)];
    expect(planOf({ versions: [kept], replicas, consumers })).toEqual(nothing);
  });
});

describe('where a replica goes', () => {
  it('goes where it fits tightest, and not where the last one failed', () => {
    const wanted = version('v', { needs: onGpu(100), waiting: 1 });
    const consumers = [gpu('large', 9_000), gpu('small', 500), gpu('smaller', 300)];
    const startsOf = (v: typeof wanted) => planOf({ versions: [v], consumers }).starts;
    expect(startsOf(wanted)).toMatchObject([{ consumerId: 'smaller' }]);
    const failed = { ...wanted, failures: 1, failedMsAgo: 5_000, failedOn: 'smaller' };
    expect(startsOf(failed)).toMatchObject([{ consumerId: 'small' }]);
  });

  it('takes the devices of several of one process', () => {
    const wanted = version('v', { needs: { ...onGpu(null), gpu_count: 2 }, waiting: 1 });
    const consumers = [gpu('a'), gpu('x', 1_000, { process: 'q' }), gpu('b')];
    const { starts } = planOf({ versions: [wanted], consumers });
    expect(starts).toEqual([{ versionId: 'v', consumerId: 'a', lenders: ['b'] }]);
  });

  it('is packed by memory on a CPU consumer whose slots are all taken', () => {
    const busy = [1, 2].map((seq) => ({ consumerId: 'c', lenders: [], seq, needs: needs() }));
    const wanted = version('v', { waiting: 1 });
    const start = (more: Partial<ReadyConsumer>) =>
      planOf({ versions: [wanted], consumers: [cpu('c', more)], busy }).starts;
    // 512 MiB that it does not speak of, beside twice 250, or 200.
    expect(start({})).toEqual([]);
    const share = { cpus: 8, memory_mib: 1_000, cpus_per_task: null, memory_per_task_mib: 200 };
    expect(start({ share })).toHaveLength(1);
  });
});

describe('who makes room', () => {
  const small = needs({ memory_mib: 500 });
  const [a, b] = [version('a', { needs: small }), version('b', { needs: small })];
  const waiting = version('w', { needs: small, waiting: 1 });
  const versions = [a, b, waiting];
  const consumers = [cpu('c')];

  it('is the idle replica that was used least recently', () => {
    const replicas = [replica('a', a, 'c', rested), replica('b', b, 'c', { idleMs: 90_000 })];
    const { starts, drains } = planOf({ versions, replicas, consumers });
    expect([starts, drains]).toEqual([[], [{ id: 'b', state: 'READY', why: 'evicted' }]]);
  });

  it('is nobody else while one goes', () => {
    const replicas = [
      replica('a', a, 'c', rested),
      replica('b', b, 'c', { ...rested, state: 'DRAINING' }),
    ];
    expect(planOf({ versions, replicas, consumers })).toEqual(nothing);
  });

  it.each([
    ['busy', {}, { ...rested, inFlight: 1 }],
    ['called a moment ago', {}, { idleMs: 1_000 }],
    ['of a model for which a call waits', { waiting: 1 }, rested],
    ['of a model that keeps it', { minReplicas: 1 }, rested],
    ['starting, for however long', {}, { ...rested, state: 'STARTING' as const }],
  ])('is not one that is %s: its room is waited for', (_what, of, more) => {
    const [first, second] = [
      version('a', { needs: small, ...of }),
      version('b', { needs: small, ...of }),
    ];
    const replicas = [replica('a', first, 'c', more), replica('b', second, 'c', more)];
    expect(planOf({ versions: [first, second, waiting], replicas, consumers })).toEqual({
      ...nothing,
      starved: ['w'],
    });
  });

  it('is the tasks where it fits without them, and only there: they get no more tickets', () => {
    const kept = version('k', { needs: small, minReplicas: 1 });
    const on = (consumerId: string) => ({ consumerId, lenders: [], seq: 1, needs: small });
    const keptFor = (memory: number) => {
      const wanted = version('w', { needs: needs({ memory_mib: memory }), waiting: 1 });
      const replicas = [replica('k', kept, 'c')];
      const busy = [on('c'), on('d'), on('d')];
      const two = [cpu('c'), cpu('d')];
      return planOf({ versions: [kept, wanted], replicas, consumers: two, busy }).keptFor;
    };
    expect([keptFor(500), keptFor(700), keptFor(1_100)]).toEqual([['c'], ['d'], []]);
  });

  it('is no more than it must be', () => {
    const large = version('large', { needs: needs({ memory_mib: 1_000 }) });
    const other = gpu('g');
    const replicas = [replica('l', large, 'c', { idleMs: 5_000 })];
    const spare = cpu('d');
    const more = [
      replica('a', a, 'd', { idleMs: 60_000 }),
      replica('b', b, 'd', { idleMs: 4_000 }),
    ];
    const { drains } = planOf({
      versions,
      replicas: [...replicas, ...more].filter(({ id }) => id !== 'l'),
      consumers: [spare, other],
    });
    expect(drains.map(({ id }) => id)).toEqual(['a']);
  });

  it('is the idle one where a task fits nowhere for it, and the room is the task’s then', () => {
    const idle = version('v', { needs: onGpu(null) });
    const replicas = [replica('r', idle, 'g', rested)];
    const room = createReplicaRoom({ consumers: [gpu('g')], busy: [], replicas });
    const tasks = [task(onGpu(null)), task(onGpu(null))];
    expect(makeRoomForTasks(tasks, [idle], room)).toEqual({
      drains: [{ id: 'r', state: 'READY', why: 'evicted' }],
      promised: ['g'],
    });
    const again = { ...idle, waiting: 1 };
    const going = [{ ...replicas[0]!, state: 'STOPPING' as const }];
    expect(planOf({ versions: [again], consumers: [gpu('g')], closed: ['g'] }).starts).toEqual([]);
    expect(planOf({ versions: [again], replicas: going, consumers: [gpu('g')] }).starts).toEqual(
      [],
    );
  });

  it('is no replica for a task that has no room without it either', () => {
    const idle = version('v', { needs: onGpu(500) });
    const replicas = [replica('r', idle, 'g', rested)];
    const busy = [{ consumerId: 'g', lenders: [], seq: 0, needs: onGpu(500) }];
    const room = createReplicaRoom({ consumers: [gpu('g')], busy, replicas });
    expect(makeRoomForTasks([task(onGpu(null))], [idle], room).drains).toEqual([]);
  });
});

describe('what fails', () => {
  it('is tried again later and later, up to a minute', () => {
    expect([0, 1, 2, 3, 7, 50].map(pauseMs)).toEqual([0, 1_000, 2_000, 4_000, 60_000, 60_000]);
  });

  it('waits, and is tried by one replica at a time', () => {
    const failing = version('v', {
      ...{ waiting: 9, maxReplicas: 9, needs: needs({ memory_mib: 10 }) },
      ...{ failures: 3, failedMsAgo: 3_900, failedOn: 'c' },
    });
    const consumers = [cpu('c')];
    expect(planOf({ versions: [failing], consumers })).toEqual(nothing);
    const due = { ...failing, failedMsAgo: 4_000 };
    expect(planOf({ versions: [due], consumers }).starts).toHaveLength(1);
    const replicas = [replica('r', due, 'c', { state: 'STARTING' })];
    expect(planOf({ versions: [due], replicas, consumers }).starts).toEqual([]);
  });
});

describe('what was lost with its consumer', () => {
  it('waits, is not started there, and all of it is started anew at once', () => {
    const lost = version('v', {
      ...{ waiting: 2, maxReplicas: 2, needs: needs({ memory_mib: 10 }) },
      ...{ losses: 2, failedMsAgo: 1_900, failedOn: 'a' },
    });
    const consumers = [cpu('a'), cpu('b')];
    expect(planOf({ versions: [lost], consumers })).toEqual(nothing);
    const due = { ...lost, failedMsAgo: 2_000 };
    expect(planOf({ versions: [due], consumers }).starts).toMatchObject([
      { consumerId: 'b' },
      { consumerId: 'b' },
    ]);
  });
});

describe('a next version', () => {
  const small = needs({ memory_mib: 400 });
  const old = version('old', { model: 'm', isCurrent: false, needs: small, inFlight: 1 });
  const next = version('next', { model: 'm', number: 2, needs: small });
  const versions = [old, next];
  const serving = replica('r1', old, 'c', { inFlight: 1 });

  it('is started beside the old one, which stays until it serves', () => {
    const consumers = [cpu('c')];
    const first = planOf({ versions, replicas: [serving], consumers });
    expect(first).toMatchObject({ starts: [{ versionId: 'next' }], drains: [] });
    const coming = replica('r2', next, 'c', { state: 'STARTING' });
    expect(planOf({ versions, replicas: [serving, coming], consumers })).toEqual(nothing);
    const ready = { ...coming, state: 'READY' as const };
    expect(planOf({ versions, replicas: [serving, ready], consumers }).drains).toEqual([
      { id: 'r1', state: 'READY', why: 'next version serves' },
    ]);
  });

  it('takes over one by one: no more old ones go than it has ready, as long as calls need them', () => {
    const [four, called] = [{ maxReplicas: 4, needs: needs({ memory_mib: 10 }) }, { inFlight: 4 }];
    const both = [
      { ...old, ...four, ...called },
      { ...next, ...four },
    ];
    const olds = ['o1', 'o2', 'o3', 'o4'].map((id) => replica(id, old, 'c', { inFlight: 1 }));
    const news = (ready: number) =>
      ['n1', 'n2', 'n3', 'n4'].map((id, n) =>
        replica(id, next, 'c', n < ready ? {} : { state: 'STARTING' }),
      );
    const goneOf = (ready: number, left = olds) =>
      planOf({
        versions: both,
        replicas: [...left, ...news(ready)],
        consumers: [cpu('c')],
      }).drains.map(({ id }) => id);
    expect([0, 1, 3, 4].map((ready) => goneOf(ready).length)).toEqual([0, 1, 3, 4]);
    // The next passes let no more go by the same one.
    expect(goneOf(1, olds.slice(1))).toEqual([]);
    expect(goneOf(2, olds.slice(1))).toHaveLength(1);
  });

  it('has old ones go one at a time where there is no room for both', () => {
    const [from, to] = [
      { ...old, needs: onGpu(null), inFlight: 2, maxReplicas: 2 },
      { ...next, needs: onGpu(null), maxReplicas: 2 },
    ];
    const on = (id: string, of: typeof from, at: string, more = {}) =>
      replica(id, of, at, { inFlight: 1, ...more });
    const goneOf = (...replicas: ReturnType<typeof on>[]) =>
      planOf({ versions: [from, to], replicas, consumers: [gpu('g'), gpu('h')] }).drains.map(
        ({ id }) => id,
      );
    const going = on('r1', from, 'g', { state: 'DRAINING' });
    expect(goneOf(on('r1', from, 'g'), on('r2', from, 'h'))).toEqual(['r1']);
    expect(goneOf(going, on('r2', from, 'h'))).toEqual([]);
    expect(goneOf(on('n1', to, 'g', { state: 'STARTING' }), on('r2', from, 'h'))).toEqual([]);
    expect(goneOf(on('n1', to, 'g'), on('r2', from, 'h'))).toEqual(['r2']);
  });

  it('has the old one go first where there is no room for both', () => {
    const { starts, drains } = planOf({
      versions: [
        { ...old, needs: onGpu(null) },
        { ...next, needs: onGpu(null) },
      ],
      replicas: [{ ...serving, consumerId: 'g', needs: onGpu(null) }],
      consumers: [gpu('g')],
    });
    expect(starts).toEqual([]);
    expect(drains).toEqual([{ id: 'r1', state: 'READY', why: 'evicted' }]);
  });

  it('ends what the old one was starting, and everything of a model that was deleted', () => {
    const starting = { ...serving, state: 'STARTING' as const };
    expect(planOf({ versions, replicas: [starting], consumers: [cpu('c')] }).drains).toMatchObject([
      { id: 'r1', why: 'next version serves' },
    ]);
    expect(
      planOf({ versions: [old], replicas: [serving], consumers: [cpu('c')] }).drains,
    ).toMatchObject([{ id: 'r1', why: 'model deleted' }]);
  });
});

describe('a consumer that is drained', () => {
  const called = version('v', { inFlight: 1, needs: needs({ memory_mib: 400 }) });
  const there = replica('r', called, 'drained', { inFlight: 1 });
  const plan = (more: Partial<Parameters<typeof planOf>[0]>) =>
    planOf({ versions: [called], consumers: [cpu('c')], draining: ['drained'], ...more });

  it('has its replicas until others are ready elsewhere', () => {
    expect(plan({ replicas: [there] })).toMatchObject({
      starts: [{ consumerId: 'c' }],
      drains: [],
    });
    const next = replica('n', called, 'c', { state: 'STARTING' });
    expect(plan({ replicas: [there, next] })).toEqual(nothing);
    const ready = { ...next, state: 'READY' as const };
    expect(plan({ replicas: [there, ready] }).drains).toMatchObject([
      { id: 'r', why: 'consumer drained' },
    ]);
  });

  it('has one go for each that is ready elsewhere', () => {
    const more = { ...called, inFlight: 2, maxReplicas: 2, needs: needs({ memory_mib: 10 }) };
    const both = [there, replica('r2', more, 'drained', { inFlight: 1 })];
    const next = [replica('n1', more, 'c'), replica('n2', more, 'c', { state: 'STARTING' })];
    const replicas = [...both, ...next];
    expect(plan({ versions: [more], replicas }).drains).toHaveLength(1);
  });

  it('and one that has left: its replicas serve until others do, be there any or not', () => {
    const away = { draining: [], left: ['drained'], replicas: [there] };
    expect(plan({ ...away, consumers: [] })).toMatchObject({ starts: [], drains: [] });
    expect(plan(away)).toMatchObject({ starts: [{ consumerId: 'c' }], drains: [] });
    const ready = replica('n', called, 'c');
    expect(plan({ ...away, replicas: [there, ready] }).drains).toMatchObject([{ id: 'r' }]);
  });

  it('and one that has left: so does that of an old version, which nobody calls, until the next does', () => {
    const old = version('old', { model: 'm', isCurrent: false });
    const next = version('next', { model: 'm', number: 2 });
    const idle = replica('r', old, 'away', { idleMs: 3_000 });
    const away = { versions: [old, next], draining: [], left: ['away'] };
    expect(plan({ ...away, replicas: [idle], consumers: [] }).drains).toEqual([]);
    const ready = replica('n', next, 'c');
    expect(plan({ ...away, replicas: [idle, ready] }).drains).toMatchObject([{ id: 'r' }]);
  });

  it('has them go where no others come', () => {
    expect(plan({ replicas: [there], consumers: [] }).drains).toMatchObject([{ id: 'r' }]);
    const idle = { ...called, inFlight: 0 };
    expect(plan({ versions: [idle], replicas: [there] })).toMatchObject({
      starts: [],
      drains: [{ id: 'r' }],
    });
  });
});
