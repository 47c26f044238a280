import fc from 'fast-check';
import { expect } from 'vitest';
import { partOf, type Needs } from '@inference-server/contracts';
import { needs } from '@inference-server/testing';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import { assignTickets, type BusyTask } from '../src/dispatcher/policy.js';
import type { HostedVersion } from '../src/dispatcher/replica-demand.js';
import { makeRoomForTasks, planReplicas, restMs } from '../src/dispatcher/replica-policy.js';
import { createReplicaRoom, type LivingReplica } from '../src/dispatcher/replica-room.js';
import * as has from './capacities.js';
import { replica } from './replica-world.js';

export const someNeeds: fc.Arbitrary<Needs> = fc.oneof(
  fc.integer({ min: 100, max: 1_200 }).map((memory_mib) => needs({ memory_mib })),
  fc
    .option(fc.integer({ min: 100, max: 1_200 }))
    .map((gpu_memory_mib) => needs({ use_gpu: true, gpu_memory_mib })),
  fc.constant(needs({ use_gpu: true, gpu_count: 2 })),
);
export const someConsumers: fc.Arbitrary<ReadyConsumer[]> = fc
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
/** All that is on a consumer fits, and who has a device alone has it alone. */
export function expectFit(
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

const allStay: { draining: ReadonlySet<string>; left: ReadonlySet<string> } = {
  ...{ draining: new Set(), left: new Set() },
};

/** A pass of the dispatcher, and what comes of it: two seconds later, or three passes. */
export function createWorld(consumers: readonly ReadyConsumer[], seeds: readonly number[]) {
  let replicas: LivingReplica[] = [];
  const busy: BusyTask[] = [];
  let made = 0;
  let seq = 0;
  return {
    replicas: () => replicas,
    /** Of the consumers those are to be empty that are `draining`, or have `left`. */
    pass(
      versions: readonly HostedVersion[],
      tasks: readonly Needs[],
      { draining, left } = allStay,
    ) {
      const there = consumers.filter(({ id }) => !draining.has(id) && !left.has(id));
      const room = createReplicaRoom({ consumers: there, busy, replicas });
      const plan = planReplicas(versions, room, { draining, left, closed: new Set() });
      const waiting = tasks.map((of) => ({
        ...{ uid: `t${(seq += 1)}`, attempt: 1, seq, versionId: JSON.stringify(of), needs: of },
        ...{ lastConsumerId: null, shunsLast: false },
      }));
      const { keptFor } = plan;
      const assigned = assignTickets(waiting, there, busy, {
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
      const unplaced = waiting.filter(({ uid }) => !assigned.some((of) => of.uid === uid));
      const drains = [...plan.drains, ...makeRoomForTasks(unplaced, versions, room).drains];
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
    /** Calls come and go, what starts is ready unless it fails, what goes and is not called is gone. */
    goOn(
      isCalled: (of: LivingReplica) => boolean,
      fails: (of: LivingReplica) => boolean = () => false,
    ): void {
      replicas = replicas.flatMap((of): LivingReplica[] => {
        if (of.state === 'STARTING' && fails(of)) return [];
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
