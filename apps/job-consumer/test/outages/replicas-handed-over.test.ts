import { afterEach, beforeAll, expect, it } from 'vitest';
import { createDockerEngine } from '@inference-server/container-engine';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

const consumer = 'handed-over';
const signal = new AbortController().signal;
let scene: ReplicaScene;

beforeAll(async () => {
  scene = await openReplicaScene();
});

afterEach(async () => {
  await scene.closeAll();
  await scene.removeAll();
});

const start = (options: Parameters<ReplicaScene['start']>[0] = {}) =>
  scene.start({ id: consumer, limits: { memoryBytes: 256 * 1024 ** 2 }, ...options });

it('is left running at a stop, and taken up by the next process, never told of but as ready', async () => {
  await start({ handsOver: true });
  const replica = scene.order(consumer);
  const address = await scene.untilReady(replica);
  await scene.closeAll();
  expect(await scene.statusOf(address)).toBe('12');
  const before = await scene.containerOf(consumer, replica);
  const reports = scene.replicas.reports.length;

  await start({ handsOver: true });
  const later = () => scene.replicas.reports.slice(reports).flatMap(({ replicas }) => replicas);
  await expect.poll(() => later()[0]).toEqual({ id: replica.id, state: 'ready', address });
  expect((await scene.containerOf(consumer, replica))?.startedAt).toEqual(before?.startedAt);
  expect(scene.replicas.history(replica.id).map(({ state }) => state)).toEqual([
    'starting',
    'ready',
  ]);
});

it('that answers nothing while a call is under way is taken up as ready, and ends by its exit alone', async () => {
  const asleep = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)';
  const replica = scene.order(consumer, { before: `process.on('SIGUSR2', () => ${asleep});` });
  await start({ handsOver: true });
  const address = await scene.untilReady(replica);
  await scene.closeAll();
  const name = scene.namesOf(consumer, replica.id).name('replica');
  await scene.own.api.call('POST', `/containers/${name}/kill?signal=SIGUSR2`);
  const { length } = scene.replicas.reports;

  await start({ handsOver: true, hosting: { startTimeoutMs: 1_000 } });
  const later = () => scene.replicas.reports.slice(length).flatMap(({ replicas }) => replicas);
  // For 4 s: who is asked whether it serves has 3.
  await expect.poll(() => later().length, { timeout: 20_000 }).toBeGreaterThan(12);
  expect(later()).toEqual(later().map(() => ({ id: replica.id, state: 'ready', address })));
  await scene.own.api.call('POST', `/containers/${name}/kill`);
  const end = await scene.untilEnded(replica);
  expect(end?.detail).toBe('The container was interrupted from outside (exit code 137).');
});

it('is gone at a stop that hands nothing over, and takes no call before', async () => {
  await start({ handsOver: false });
  const replica = scene.order(consumer);
  await scene.untilReady(replica);
  await scene.closeAll();
  expect(scene.replicas.said(replica.id)).toMatchObject({
    state: 'ended',
    end: { reason: 'stopped', detail: 'Its consumer stops.' },
  });
  const left = (await scene.tracesOf()).filter((name) => name.includes(replica.id));
  expect(left).toEqual([]);
});

it('ends at a stop that hands nothing over once the calls are over that are under way', async () => {
  await start({ handsOver: false });
  const [busy, idle] = [scene.order(consumer), scene.order(consumer)];
  const address = await scene.untilReady(busy);
  await scene.untilReady(idle);
  scene.replicas.busy.add(busy.id);
  const closed = scene.closeAll();
  await scene.untilEnded(idle);
  expect(scene.replicas.said(busy.id)).toEqual({ id: busy.id, state: 'draining', address });
  expect(scene.registrationsOf(consumer).at(-1)).toMatchObject({
    state: 'reconciling',
    reason: 'It is stopping.',
  });
  expect(await scene.statusOf(address)).toBe('12');
  scene.replicas.busy.clear();
  await closed;
  expect(scene.replicas.history(busy.id).map(({ state }) => state)).toEqual([
    ...['starting', 'ready', 'draining', 'ended'],
  ]);
  expect((await scene.tracesOf()).filter((name) => name.includes(busy.id))).toEqual([]);
});

it('that nobody has told of yet since it was found takes no call at a stop, and its calls end', async () => {
  await start({ handsOver: true });
  const replica = scene.order(consumer);
  const address = await scene.untilReady(replica);
  await scene.closeAll();
  scene.replicas.busy.add(replica.id);
  scene.replicas.deaf.add(consumer);
  const registrations = scene.registrationsOf(consumer).length;
  await start({ handsOver: false });
  const states = () =>
    scene
      .registrationsOf(consumer)
      .slice(registrations)
      .map(({ state }) => state);
  await expect.poll(states).toContain('ready');
  const closed = scene.closeAll();
  scene.replicas.deaf.delete(consumer);
  await scene.untilSaid(replica, 'draining');
  expect(scene.registrationsOf(consumer).at(-1)?.reason).toBe('It is stopping.');
  expect(await scene.statusOf(address)).toBe('12');
  scene.replicas.busy.clear();
  await closed;
  const history = scene.replicas.history(replica.id).map(({ state }) => state);
  expect(history).toEqual(['starting', 'ready', 'draining', 'ended']);
});

it('has none come in its place at a stop, also when an adoption ends meanwhile', async () => {
  await start({ handsOver: false });
  const replica = scene.order(consumer);
  await scene.untilReady(replica);
  scene.replicas.busy.add(replica.id);
  let answer: () => void = () => undefined;
  let asked = 0;
  const task = scene.addTask('true');
  task.isSuperseded = true;
  task.onAdoption = async () => {
    asked += 1;
    await new Promise<void>((resolve) => (answer = resolve));
  };
  await scene.leave(consumer, task);
  await expect.poll(() => asked, { timeout: 10_000 }).toBe(1);
  const closed = scene.closeAll();
  const last = () => scene.registrationsOf(consumer).at(-1)?.reason;
  await expect.poll(last).toBe('It is stopping.');
  const { length } = scene.registrationsOf(consumer);
  answer();
  const later = () => scene.registrationsOf(consumer).slice(length);
  await expect.poll(() => later().length, { timeout: 10_000 }).toBeGreaterThan(3);
  expect(new Set(later().map(({ state }) => state))).toEqual(new Set(['reconciling']));
  scene.replicas.busy.clear();
  await closed;
});

it('is left by a stop right after its start', async () => {
  let isLooked = false;
  await start({
    handsOver: true,
    wrap: (engine) => ({
      ...engine,
      // By its id alone it is looked at once it runs.
      async inspectContainer(container, bounds) {
        const found = await engine.inspectContainer(container, bounds);
        if (found?.state !== 'running' || found.id !== container) return found;
        isLooked = true;
        return new Promise((_resolve, reject) => {
          bounds.addEventListener('abort', () => reject(bounds.reason as Error));
        });
      },
    }),
  });
  const replica = scene.order(consumer);
  await expect.poll(() => isLooked, { timeout: 10_000 }).toBe(true);
  await scene.closeAll();
  expect(await scene.containerOf(consumer, replica)).toMatchObject({ state: 'running' });
});

it('that does not run yet is removed at a stop, and brought up by the next process', async () => {
  await start({ handsOver: true, hosting: { startTimeoutMs: 20_000 } });
  const [large, waiting] = [
    scene.order(consumer, {}, memory(900)),
    scene.order(consumer, {}, memory(900)),
  ];
  await expect
    .poll(
      () => [large, waiting].filter(({ id }) => scene.replicas.said(id)?.state === 'ready').length,
      {
        timeout: 10_000,
      },
    )
    .toBe(1);
  const isFirst = scene.replicas.said(large.id)?.state === 'ready';
  const [runs, waits] = isFirst ? [large, waiting] : [waiting, large];
  await expect.poll(() => scene.containerOf(consumer, waits)).toMatchObject({ state: 'created' });
  await scene.closeAll();
  expect((await scene.tracesOf()).filter((name) => name.includes(waits.id))).toEqual([]);

  await start({ handsOver: true });
  scene.replicas.stop(consumer, runs.id);
  await scene.untilReady(waits);
});

it('is not touched by a process that is not the consumer any more', async () => {
  await start({ handsOver: false });
  const replica = scene.order(consumer);
  const address = await scene.untilReady(replica);
  scene.replicas.replaced.add(consumer);
  scene.replicas.stop(consumer, replica.id);
  const { length } = scene.replicas.reports;
  await scene.closeAll();
  scene.replicas.replaced.delete(consumer);
  expect(scene.replicas.reports).toHaveLength(length);
  expect(await scene.statusOf(address)).toBe('12');
  const engine = createDockerEngine({ dockerHost: scene.own.dockerHost });
  const name = scene.namesOf(consumer, replica.id).name('replica');
  expect((await engine.inspectContainer(name, signal))?.state).toBe('running');
});

function memory(mib: number) {
  return {
    needs: {
      ...{ use_gpu: false, gpu_count: 1, gpu_memory_mib: null, gpu_memory_exceeded: false },
      ...{ cpus: null, memory_mib: mib, shm_mib: null, labels: {} },
    },
  };
}
