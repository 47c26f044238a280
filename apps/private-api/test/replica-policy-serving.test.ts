import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { HostedVersion } from '../src/dispatcher/replica-demand.js';
import { pauseMs, restMs } from '../src/dispatcher/replica-policy.js';
import type { LivingReplica } from '../src/dispatcher/replica-room.js';
import { createWorld, expectFit, someConsumers, someNeeds } from './replica-passes.js';
import { version } from './replica-world.js';

const passes = 30;
/** Failures longer ago give no pause, and it is still known that it has only failed. */
const passesThatCount = 8;
const someModel = fc.record({
  needs: someNeeds,
  nextNeeds: someNeeds,
  minReplicas: fc.integer({ min: 0, max: 2 }),
  maxReplicas: fc.integer({ min: 2, max: 4 }),
  waiting: fc.integer({ min: 0, max: 4 }),
  /** When its next version comes, and whether that starts. */
  rollsAt: fc.integer({ min: 3, max: 12 }),
  fails: fc.boolean(),
});
type SomeModel = typeof someModel extends fc.Arbitrary<infer Of> ? Of : never;
const scene = (most: number) =>
  fc.record({
    consumers: someConsumers,
    models: fc.array(someModel, { minLength: 1, maxLength: most }),
    tasks: fc.array(someNeeds, { maxLength: most === 1 ? 0 : 4 }),
    /** Of each consumer. */
    ways: fc.array(fc.constantFrom('stays', 'stays', 'drains', 'leaves'), {
      minLength: 4,
      maxLength: 4,
    }),
    seeds: fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 30, maxLength: 30 }),
  });

/** What has failed of each version, and in which pass that was last. */
type Failures = Map<string, { count: number; at: number; on: string }>;

/** The versions of a model in a pass: each of its calls is on a replica, or waits. */
function versionsOf(
  { waiting, nextNeeds, rollsAt, minReplicas, maxReplicas, ...more }: SomeModel,
  name: string,
  pass: number,
  replicas: readonly LivingReplica[],
  failures: Failures,
): HostedVersion[] {
  const of = (id: string, needs: HostedVersion['needs'], isCurrent: boolean) => {
    const own = replicas.filter(({ versionId }) => versionId === id);
    const failed = failures.get(id);
    const lately = failed !== undefined && pass - failed.at < passesThatCount ? failed : undefined;
    return version(id, {
      ...{ model: name, needs, isCurrent, minReplicas, maxReplicas, idleTimeoutMs: 20_000 },
      inFlight: own.reduce((sum, { inFlight }) => sum + inFlight, 0),
      waiting: isCurrent ? waiting : 0,
      failures: lately?.count ?? 0,
      failedMsAgo: lately === undefined ? null : (pass - lately.at) * restMs,
      failedOn: lately?.on ?? null,
      hasOnlyFailed: failed !== undefined,
    });
  };
  const old = of(`${name}-old`, more.needs, pass < rollsAt);
  return pass < rollsAt ? [old] : [old, of(`${name}-next`, nextNeeds, true)];
}

const isPausing = ({ failures, losses, failedMsAgo }: HostedVersion) =>
  (failedMsAgo ?? Infinity) < pauseMs(failures + losses);

function runThrough(
  {
    consumers,
    models,
    tasks,
    ways,
    seeds,
  }: ReturnType<typeof scene> extends fc.Arbitrary<infer Of> ? Of : never,
  { isAlone }: { isAlone: boolean },
): void {
  const world = createWorld(consumers, seeds);
  const failures: Failures = new Map();
  const none = new Set<string>();
  const whoGoes = (way: string) =>
    new Set(consumers.flatMap(({ id }, n) => (ways[n] === way ? [id] : [])));
  for (let n = 0; n < passes; n += 1) {
    const seed = world.seed(n);
    const [draining, left] = n < 16 ? [none, none] : [whoGoes('drains'), whoGoes('leaves')];
    const now = models.flatMap((of, i) => {
      const waiting = (seed >> i) % 2 ? of.waiting : 0;
      return versionsOf({ ...of, waiting }, `m${i}`, n, world.replicas(), failures);
    });
    const before = world.replicas().filter(({ state }) => state === 'READY');
    const { drains } = world.pass(now, seed % 3 === 0 ? tasks : [], { draining, left });
    const gone = new Map(drains.map(({ id, why }) => [id, why]));
    expectFit(consumers, world.replicas(), world.busy);
    for (const current of now.filter(({ isCurrent }) => isCurrent)) {
      const own = now.filter(({ model }) => model === current.model);
      const had = before.filter(({ versionId }) => own.some(({ id }) => id === versionId));
      const going = had.filter(({ id }) => gone.has(id));
      const serves = had.length > going.length;
      const isCalled = own.some(({ waiting, inFlight }) => waiting + inFlight > 0);
      const { hasOnlyFailed } = current;
      for (const { id, consumerId, lenders, inFlight } of going) {
        const why = gone.get(id);
        const isDrained = [consumerId, ...lenders].some((on) => draining.has(on));
        if (why === 'consumer drained') expect(isDrained || serves || !isCalled).toBe(true);
        else if (hasOnlyFailed)
          expect([why, inFlight]).toEqual([expect.stringMatching(/^(?:idle|evicted)$/), 0]);
        if (hasOnlyFailed && isAlone) expect(why).not.toBe('evicted');
        if (hasOnlyFailed && isCalled && isPausing(current) && !serves) expect(why).toBe('none');
        // One goes at a time for a version that has no room beside it, and that might serve.
        if (isCalled && !serves && why === 'evicted') expect(hasOnlyFailed).toBe(false);
      }
    }
    world.goOn(
      (of) => (seed + of.id.length * 7 + n) % 3 === 0,
      ({ versionId, consumerId: on }) => {
        const fails = versionId.endsWith('next') && models[Number(versionId[1])]?.fails === true;
        if (fails)
          failures.set(versionId, { count: (failures.get(versionId)?.count ?? 0) + 1, at: n, on });
        return fails;
      },
    );
    if (seed % 2 === 0) world.endTask();
  }
}

it('what serves goes for no version that has only failed, be its consumer drained or tasks waiting', () => {
  fc.assert(
    fc.property(scene(3), (of) => runThrough(of, { isAlone: false })),
    { numRuns: 80 },
  );
});

it('nor is an idle one evicted where no other model and no task is there', () => {
  fc.assert(
    fc.property(scene(1), (of) => runThrough(of, { isAlone: true })),
    { numRuns: 120 },
  );
});
