import { describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import * as has from './capacities.js';
import { planOf, replica, version } from './replica-world.js';

const cpu = (id: string, memory = 1_000): ReadyConsumer => {
  const share = { cpus: 8, memory_mib: memory, cpus_per_task: null, memory_per_task_mib: 100 };
  return { id, ...has.cpu({ share }) };
};
const of = (memory: number) => needs({ memory_mib: memory });
const rested = { idleMs: 60_000 };
const due = { failures: 5, failedMsAgo: 60_000, failedOn: 'c', hasOnlyFailed: true };
/** Not tried for so long that there is no pause any more. */
const longAgo = { hasOnlyFailed: true };
const pausing = { ...due, failedMsAgo: 1_000 };

describe('a next version that does not start', () => {
  const small = of(500);
  const old = version('old', { model: 'm', isCurrent: false, needs: small, inFlight: 1 });
  const next = (more = {}) => version('next', { model: 'm', number: 2, needs: small, ...more });
  const serving = replica('r', old, 'c', { inFlight: 1 });
  const busy = [{ consumerId: 'c', lenders: [], seq: 1, needs: small }];
  const plan = (
    version: ReturnType<typeof next>,
    { replicas = [serving], ...more }: Partial<Parameters<typeof planOf>[0]> = {},
  ) => planOf({ versions: [old, version], replicas, consumers: [cpu('c')], busy, ...more });

  it('has no old one go for it, where a task has taken the room in which it failed', () => {
    expect(plan(next()).drains).toMatchObject([{ id: 'r', why: 'evicted' }]);
    expect(plan(next(due))).toMatchObject({ starts: [], drains: [], starved: ['next'] });
    expect(plan(next({ ...due, waiting: 3 })).drains).toEqual([]);
    expect(plan(next(longAgo))).toMatchObject({ starts: [], drains: [], starved: ['next'] });
  });

  it('is tried again where there is room, however long ago it failed', () => {
    const { starts, drains } = plan(next(longAgo), { busy: [] });
    expect([starts, drains]).toEqual([[{ versionId: 'next', consumerId: 'c', lenders: [] }], []]);
  });

  it('is tried by one replica at a time, however long ago it failed', () => {
    const called = { needs: of(100), waiting: 3, maxReplicas: 3 };
    const startsOf = (more = {}, replicas: (typeof serving)[] = []) =>
      planOf({ versions: [version('v', { ...called, ...more })], replicas, consumers: [cpu('c')] })
        .starts.length;
    expect([startsOf(), startsOf(due), startsOf(longAgo)]).toEqual([3, 1, 1]);
    const tried = replica('t', version('v', called), 'c', { state: 'STARTING' });
    expect([startsOf({}, [tried]), startsOf(longAgo, [tried])]).toEqual([2, 0]);
  });

  it('nor an idle one, nor one that is started anew', () => {
    const idle = replica('r', old, 'c', rested);
    expect(plan(next(due), { replicas: [idle] }).drains).toEqual([]);
    const starting = replica('r', old, 'c', { state: 'STARTING' });
    expect(plan(next(due), { replicas: [starting] }).drains).toEqual([]);
    expect(plan(next(longAgo), { replicas: [starting] }).drains).toEqual([]);
    expect(plan(next(), { replicas: [starting] }).drains).toHaveLength(1);
  });

  it('has idle ones of other models go for it', () => {
    const other = version('other', { needs: small });
    const [from, to] = [{ ...old, needs: of(400) }, next({ ...due, needs: small })];
    const replicas = [replica('r', from, 'd', { inFlight: 1 }), replica('o', other, 'c', rested)];
    const two = { versions: [from, to, other], replicas, consumers: [cpu('c'), cpu('d', 400)] };
    expect(planOf({ ...two, busy }).drains).toMatchObject([{ id: 'o', why: 'evicted' }]);
  });

  it('is not tried where nobody calls: the old one goes when it was idle for long', () => {
    const uncalled = { ...old, inFlight: 0 };
    const idle = (idleMs: number) => replica('r', uncalled, 'c', { idleMs });
    const planAt = (idleMs: number, more = {}) =>
      planOf({
        versions: [uncalled, next({ ...due, needs: of(100), idleTimeoutMs: 50_000, ...more })],
        ...{ replicas: [idle(idleMs)], consumers: [cpu('c')] },
      });
    expect(planAt(49_000)).toMatchObject({ starts: [{ versionId: 'next' }], drains: [] });
    expect(planAt(51_000)).toMatchObject({ starts: [], drains: [{ id: 'r', why: 'idle' }] });
    const kept = planAt(51_000, { minReplicas: 1 });
    expect(kept).toMatchObject({ starts: [{ versionId: 'next' }], drains: [] });
  });
});

describe('a consumer that is drained, while what is to come in its place fails', () => {
  const called = (more = {}) =>
    version('v', { inFlight: 2, maxReplicas: 2, needs: of(400), ...more });
  const drainsOf = (v: ReturnType<typeof called>, { memory = 1_000, more = [] as string[] } = {}) =>
    planOf({
      versions: [v],
      replicas: [
        ...['r1', 'r2'].map((id) => replica(id, v, 'drained', { inFlight: 1 })),
        ...more.map((id) => replica(id, v, 'c', { state: 'STARTING' })),
      ],
      consumers: [cpu('c', memory)],
      draining: ['drained'],
    }).drains;

  it('keeps what the calls need, in its pause and while it is tried', () => {
    expect(drainsOf(called(pausing))).toEqual([]);
    expect(drainsOf(called(due))).toEqual([]);
    expect(drainsOf(called(pausing), { more: ['n'] })).toEqual([]);
    expect(drainsOf(called({ losses: 2, failedMsAgo: 100 }))).toEqual([]);
  });

  it('keeps it at a try that waits for the room of others, too', () => {
    const [v, other] = [called({ ...due, inFlight: 1 }), version('other', { needs: of(400) })];
    const replicas = [
      replica('r', v, 'drained', { inFlight: 1 }),
      replica('o', other, 'c', rested),
    ];
    const plan = (tried: typeof v) =>
      planOf({
        ...{ versions: [tried, other], replicas, consumers: [cpu('c', 500)] },
        draining: ['drained'],
      });
    expect(plan(v)).toMatchObject({ starts: [], drains: [{ id: 'o', why: 'evicted' }] });
    // And one that has not failed: till that has come which comes in its place.
    const well = called({ inFlight: 1 });
    expect(plan(well)).toMatchObject({ starts: [], drains: [{ id: 'o', why: 'evicted' }] });
  });

  it('keeps no old one that nobody calls, however often a next one is tried', () => {
    const old = version('old', { model: 'm', isCurrent: false, needs: of(400) });
    const plan = (idleMs: number, more = {}) =>
      planOf({
        versions: [old, version('next', { model: 'm', number: 2, needs: of(400), ...more })],
        replicas: [replica('r', old, 'drained', { idleMs })],
        ...{ consumers: [cpu('c')], draining: ['drained'] },
      });
    expect(plan(3_600_000, pausing).drains).toMatchObject([{ id: 'r', why: 'consumer drained' }]);
    expect(plan(3_600_000, due)).toMatchObject({ starts: [{ versionId: 'next' }], drains: [] });
    // Calls come in quick succession.
    expect(plan(1_000, pausing).drains).toEqual([]);
  });

  it('keeps none that no call needs, nor where there is no room elsewhere', () => {
    expect(drainsOf(called({ ...pausing, inFlight: 1 }))).toHaveLength(1);
    expect(drainsOf(called(due), { memory: 300 })).toHaveLength(2);
  });
});

describe('more than max_replicas', () => {
  const called = version('v', { inFlight: 9, maxReplicas: 2, needs: of(100) });
  const on = (id: string, more = {}) => replica(id, called, 'c', { inFlight: 1, ...more });
  const drainsOf = (...replicas: ReturnType<typeof on>[]) =>
    planOf({ versions: [called], replicas, consumers: [cpu('c')] }).drains;

  it('go, idle or not: first what starts, then what has the fewest calls', () => {
    const replicas = [on('a', { inFlight: 2 }), on('b'), on('c', { inFlight: 3 })];
    expect(drainsOf(...replicas)).toEqual([
      { id: 'b', state: 'READY', why: 'more than max_replicas' },
    ]);
    const starting = on('s', { state: 'STARTING', inFlight: 0 });
    expect(drainsOf(...replicas, starting).map(({ id }) => id)).toEqual(['s', 'b']);
    const going = on('g', { state: 'DRAINING' });
    expect(drainsOf(going, ...replicas.slice(0, 2))).toEqual([]);
  });
});

describe('a model that waits and of which nothing serves', () => {
  const small = of(500);
  const [a, b] = [version('a', { needs: small }), version('b', { needs: small })];
  const waiting = version('w', { needs: small, waiting: 1 });
  const going = replica('a', a, 'c', { state: 'DRAINING', inFlight: 1 });
  const idle = replica('b', b, 'c', rested);
  const planWith = (...replicas: (typeof going)[]) =>
    planOf({ versions: [a, b, waiting], replicas, consumers: [cpu('c')] });

  it('has an idle one go, and does not wait for the calls of one that goes', () => {
    expect(planWith(going, idle).drains).toEqual([{ id: 'b', state: 'READY', why: 'evicted' }]);
    const gone = { ...idle, state: 'DRAINING' as const };
    expect(planWith(going, gone)).toMatchObject({ drains: [], starved: [] });
  });

  it('waits for what goes where none is idle, or where that has no calls', () => {
    const called = { ...idle, inFlight: 1 };
    const nothing = { starts: [], drains: [], keptFor: [], starved: [] };
    expect(planWith(going, called)).toEqual(nothing);
    expect(planWith({ ...going, inFlight: 0 }, idle)).toEqual(nothing);
    expect(planWith({ ...going, state: 'STOPPING' }, idle)).toEqual(nothing);
  });

  it('waits where an old one of it goes or serves', () => {
    const old = version('old', { model: 'w', isCurrent: false, needs: of(100) });
    const replicas = [going, idle, replica('o', old, 'd', { inFlight: 1 })];
    const versions = [a, b, old, waiting];
    const consumers = [cpu('c'), cpu('d', 100)];
    expect(planOf({ versions, replicas, consumers }).drains).toEqual([]);
  });
});
