import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isFor, partOf, type Needs } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import { assignTickets, type BusyTask } from '../src/dispatcher/policy.js';
import type { HostedVersion } from '../src/dispatcher/replica-demand.js';
import { makeRoomForTasks, planReplicas, restMs } from '../src/dispatcher/replica-policy.js';
import { createReplicaRoom, type LivingReplica } from '../src/dispatcher/replica-room.js';
import * as has from './capacities.js';
import { replica, version } from './replica-world.js';

const someNeeds: fc.Arbitrary<Needs> = fc.oneof(
  fc.integer({ min: 100, max: 1_200 }).map((memory_mib) => needs({ memory_mib })),
  fc
    .option(fc.integer({ min: 100, max: 1_200 }))
    .map((gpu_memory_mib) => needs({ use_gpu: true, gpu_memory_mib })),
  fc.constant(needs({ use_gpu: true, gpu_count: 2 })),
);
const someConsumers: fc.Arbitrary<ReadyConsumer[]> = fc
  .array(fc.record({ isGpu: fc.boolean(), memory: fc.integer({ min: 300, max: 2_000 }) }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((list) =>
    list.map(({ isGpu, memory }, n) => {
      const share = { cpus: 8, memory_mib: memory, cpus_per_task: null, memory_per_task_mib: 100 };
      return { id: `c${n}`, ...(isGpu ? has.gpu(memory, { slots: 4 }) : has.cpu({ share })) };
    }),
  );
const someVersions: fc.Arbitrary<HostedVersion[]> = fc
  .array(
    fc.record({
      needs: someNeeds,
      minReplicas: fc.integer({ min: 0, max: 2 }),
      maxReplicas: fc.integer({ min: 2, max: 4 }),
      waiting: fc.integer({ min: 0, max: 4 }),
      isOlder: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((list) =>
    list.flatMap(({ isOlder, ...more }, n) => [
      ...(isOlder
        ? [version(`old${n}`, { ...more, waiting: 0, model: `m${n}`, isCurrent: false })]
        : []),
      version(`v${n}`, { ...more, model: `m${n}` }),
    ]),
  );
const scene = fc.record({
  consumers: someConsumers,
  versions: someVersions,
  tasks: fc.array(someNeeds, { maxLength: 4 }),
  seeds: fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 30, maxLength: 30 }),
});

/** All that is on a consumer fits, and who has a device alone has it alone. */
function expectFit(
  consumers: readonly ReadyConsumer[],
  replicas: readonly LivingReplica[],
  busy: readonly BusyTask[],
): void {
  for (const consumer of consumers) {
    const isOn = (of: { consumerId: string; lenders: readonly string[] }) =>
      [of.consumerId, ...of.lenders].includes(consumer.id);
    const parts = [
      ...replicas.filter(isOn).map((of) => partOf(of.needs, consumer, 'runtime')),
      ...busy.filter(isOn).map((of) => partOf(of.needs, consumer)),
    ];
    const sumOf = (key: 'cpus' | 'memoryMib' | 'gpuMemoryMib') =>
      parts.reduce((sum, part) => sum + part[key], 0);
    expect(sumOf('memoryMib')).toBeLessThanOrEqual(consumer.share.memory_mib + 0.001);
    expect(sumOf('cpus')).toBeLessThanOrEqual(consumer.share.cpus + 0.001);
    expect(sumOf('gpuMemoryMib')).toBeLessThanOrEqual(consumer.device?.memory_mib ?? Infinity);
    if (parts.some(({ isAlone }) => isAlone)) expect(parts).toHaveLength(1);
  }
}

/** A pass of the dispatcher, and what comes of it: two seconds later, or three passes. */
function createWorld(consumers: readonly ReadyConsumer[], seeds: readonly number[]) {
  let replicas: LivingReplica[] = [];
  const busy: BusyTask[] = [];
  let made = 0;
  let seq = 0;
  return {
    replicas: () => replicas,
    pass(versions: readonly HostedVersion[], tasks: readonly Needs[]) {
      const room = createReplicaRoom({ consumers, busy, replicas });
      const none = new Set<string>();
      const plan = planReplicas(versions, room, { draining: none, left: none, closed: none });
      const waiting = tasks.map((of) => ({
        ...{ uid: `t${(seq += 1)}`, attempt: 1, seq, versionId: JSON.stringify(of), needs: of },
        ...{ lastConsumerId: null, shunsLast: false },
      }));
      const { keptFor } = plan;
      const assigned = assignTickets(waiting, consumers, busy, {
        replicas: room.entered(),
        keptFor,
      });
      for (const { uid, consumerId, lenders } of assigned) {
        const of = waiting.find((task) => task.uid === uid);
        if (of !== undefined) {
          busy.push({ consumerId, lenders, seq: of.seq, needs: of.needs });
          room.run({ consumerId, lenders, seq: of.seq, needs: of.needs });
        }
      }
      const left = waiting.filter(({ uid }) => !assigned.some((of) => of.uid === uid));
      const drains = [...plan.drains, ...makeRoomForTasks(left, versions, room).drains];
      const before = new Map(replicas.map((of) => [of.id, of]));
      for (const { versionId, consumerId, lenders } of plan.starts) {
        const of = versions.find(({ id }) => id === versionId);
        const at = { state: 'STARTING' as const, lenders };
        if (of !== undefined) replicas.push(replica(`r${(made += 1)}`, of, consumerId, at));
      }
      replicas = replicas.map((of) =>
        drains.some(({ id }) => id === of.id) ? { ...of, state: 'DRAINING' as const } : of,
      );
      return { plan, drains, before, assigned };
    },
    /** Calls come and go, what starts is ready, what goes and is not called is gone. */
    goOn(isCalled: (of: LivingReplica) => boolean): void {
      replicas = replicas.flatMap((of): LivingReplica[] => {
        const called = isCalled(of);
        if (of.state === 'DRAINING') return of.inFlight > 0 && called ? [of] : [];
        const idle = called
          ? { inFlight: 1, idleMs: 0 }
          : { inFlight: 0, idleMs: of.idleMs + restMs };
        return [{ ...of, ...idle, state: 'READY' }];
      });
    },
    endTask: () => void busy.shift(),
    busy,
    seed: (n: number) => seeds[n % seeds.length] ?? 0,
  };
}

it('never overbooks, lets no busy one go for room, and keeps between least and most', () => {
  fc.assert(
    fc.property(scene, ({ consumers, versions, tasks, seeds }) => {
      const world = createWorld(consumers, seeds);
      for (let n = 0; n < 30; n += 1) {
        const seed = world.seed(n);
        const now = versions.map((of, i) => ({ ...of, waiting: (seed >> i) % 2 ? of.waiting : 0 }));
        const staysBefore = world.replicas().filter(({ state }) => state === 'READY');
        const { drains, before } = world.pass(now, seed % 3 === 0 ? tasks : []);
        expectFit(consumers, world.replicas(), world.busy);
        for (const { id, why } of drains) {
          const of = before.get(id);
          const isOld = of?.versionId.startsWith('old') ?? false;
          if (why === 'idle' || (why === 'evicted' && !isOld)) expect(of?.inFlight).toBe(0);
        }
        for (const of of now.filter(({ isCurrent }) => isCurrent)) {
          const own = world
            .replicas()
            .filter((r) => r.versionId === of.id && r.state !== 'DRAINING');
          expect(own.length).toBeLessThanOrEqual(of.maxReplicas);
          const had = staysBefore.filter((r) => r.versionId === of.id).length;
          expect(own.length).toBeGreaterThanOrEqual(Math.min(had, of.minReplicas));
        }
        world.goOn((of) => (seed + of.id.length * 7 + n) % 3 === 0);
        if (seed % 2 === 0) world.endTask();
      }
    }),
    { numRuns: 300 },
  );
});

it('comes to rest where the calls stay as they are, with all that finds room', () => {
  fc.assert(
    fc.property(scene, ({ consumers, versions, seeds }) => {
      const world = createWorld(consumers, seeds);
      // What has enough replicas has no call that waits.
      const asServed = () =>
        versions.map((of) => {
          const own = world.replicas().filter((r) => r.versionId === of.id && r.state === 'READY');
          return own.length >= Math.min(of.waiting, of.maxReplicas)
            ? { ...of, waiting: 0, inFlight: of.waiting }
            : of;
        });
      // As long as calls are under way on all of a version whose calls go on.
      const isCalled = (of: LivingReplica) =>
        versions.some(({ id, waiting }) => id === of.versionId && waiting > 0);
      for (let n = 0; n < 30; n += 1) {
        world.pass(asServed(), []);
        world.goOn(isCalled);
      }
      const { plan } = world.pass(asServed(), []);
      expect([plan.starts, plan.drains]).toEqual([[], []]);
      for (const of of versions.filter(({ isCurrent, waiting }) => isCurrent && waiting > 0)) {
        if (world.replicas().some((r) => r.versionId === of.id)) continue;
        const alone = createReplicaRoom({ consumers, busy: [], replicas: [] });
        const able = consumers.some((consumer) => isFor(of.needs, consumer, 'runtime'));
        const wish = { needs: of.needs, kind: 'runtime' as const, isAllowed: () => true };
        // Somebody else is there in its place, and busy or kept; or nobody could.
        if (able && alone.findNow(wish) !== undefined) expect(world.replicas()).not.toEqual([]);
      }
    }),
    { numRuns: 300 },
  );
});
