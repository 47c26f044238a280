import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isFor } from '@inference-server/contracts';
import type { HostedVersion } from '../src/dispatcher/replica-demand.js';
import { createReplicaRoom, type LivingReplica } from '../src/dispatcher/replica-room.js';
import { createWorld, expectFit, someConsumers, someNeeds } from './replica-passes.js';
import { version } from './replica-world.js';

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
