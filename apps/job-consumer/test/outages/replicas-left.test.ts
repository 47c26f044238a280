import { afterEach, beforeAll, expect, it } from 'vitest';
import { EngineError } from '@inference-server/container-engine';
import { needs } from '@inference-server/testing';
import { labelNames } from '../../src/names.js';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

let scene: ReplicaScene;

beforeAll(async () => {
  scene = await openReplicaScene();
});

afterEach(async () => {
  await scene.closeAll();
  await scene.removeAll();
});

it('what replicas have whose containers stay is given back by each as soon as its own is gone', async () => {
  const stuck = new Set<string>();
  const { id } = await scene.start({
    limits: { memoryBytes: 256 * 1024 ** 2 },
    wrap: (engine) => ({
      ...engine,
      removeContainer: async (container, signal) => {
        if (stuck.has(container)) throw new EngineError('failed', 'busy');
        return engine.removeContainer(container, signal);
      },
    }),
  });
  const of = (mib: number) => scene.order(id, {}, { needs: needs({ memory_mib: mib }) });
  const [first, second] = [of(400), of(400)];
  const containers: string[] = [];
  for (const replica of [first, second]) {
    await scene.untilReady(replica);
    containers.push((await scene.containerOf(id, replica))?.id ?? '');
  }
  for (const container of containers) stuck.add(container);
  for (const replica of [first, second]) scene.replicas.stop(id, replica.id);
  for (const replica of [first, second]) await scene.untilEnded(replica, 20_000);
  const next = of(500);
  await expect
    .poll(() => scene.containerOf(id, next), { timeout: 10_000 })
    .toMatchObject({ state: 'created' });
  stuck.delete(containers[1] ?? '');
  await scene.untilReady(next);
  expect((await scene.containerOf(id, first))?.id).toBe(containers[0]);
  stuck.clear();
  await expect.poll(() => scene.containerOf(id, first), { timeout: 10_000 }).toBeUndefined();
  await scene.untilReady(of(400));
}, 90_000);

it('one that ends while the engine is looked through is not taken up again', async () => {
  let isHeld = false;
  let looks = 0;
  let release: () => void = () => undefined;
  const stuck = new Set<string>();
  const { id } = await scene.start({
    limits: { memoryBytes: 256 * 1024 ** 2 },
    wrap: (engine) => ({
      ...engine,
      removeContainer: async (container, signal) => {
        if (stuck.has(container)) throw new EngineError('failed', 'busy');
        return engine.removeContainer(container, signal);
      },
      // The last list of a look: of all that the consumer has, not of one replica.
      listNetworks: async (labels, signal) => {
        const isOfLook = labelNames.consumer in labels && !(labelNames.replica in labels);
        if (isOfLook) looks += 1;
        if (isOfLook && isHeld) await new Promise<void>((resolve) => (release = resolve));
        return engine.listNetworks(labels, signal);
      },
    }),
  });
  const small = { needs: needs({ memory_mib: 128 }) };
  const [left, ending] = [scene.order(id, {}, small), scene.order(id, {}, small)];
  for (const replica of [left, ending]) await scene.untilReady(replica);
  stuck.add((await scene.containerOf(id, left))?.id ?? '');
  isHeld = true;
  const before = looks;
  // What it leaves is looked for.
  scene.replicas.stop(id, left.id);
  await expect.poll(() => looks, { timeout: 20_000 }).toBe(before + 1);
  scene.replicas.stop(id, ending.id);
  await scene.untilEnded(ending);
  const { length } = scene.replicas.reports;
  await expect.poll(() => scene.replicas.reports.length).toBeGreaterThan(length + 1);
  isHeld = false;
  release();
  await expect.poll(() => looks, { timeout: 10_000 }).toBe(before + 3);
  const ends = scene.replicas.history(ending.id).filter(({ state }) => state === 'ended');
  expect(ends.map(({ end }) => end?.reason)).toEqual(['stopped']);
  stuck.clear();
  await expect.poll(() => scene.containerOf(id, left), { timeout: 10_000 }).toBeUndefined();
}, 60_000);
