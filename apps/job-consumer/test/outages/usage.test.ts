import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import { openAttemptScene, type AttemptScene } from '../attempt-scene.js';
import { scriptZip } from '../zips.js';

/** What is told of what a run used. */

let scene: AttemptScene;
let engine: ContainerEngine;

beforeAll(async () => {
  scene = await openAttemptScene();
  engine = scene.bench.engine;
});
afterEach(() => {
  scene.bench.deps.engine = engine;
});
afterAll(() => scene.close());

/** Half a second of one core at least, 8 MiB, and a second of rest. */
const busy =
  'x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | tr "\\0" a); ' +
  'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 1; echo done > /output/a';

it('is told with the end of the attempt', async () => {
  const { usage } = await endOf(busy);
  expect(usage).toEqual({
    samples: expect.any(Number),
    run_s: expect.any(Number),
    cpu_s: expect.any(Number),
    memory_peak_mib: expect.any(Number),
    read_bytes: expect.any(Number),
    written_bytes: expect.any(Number),
    gpu_s: 0,
    gpu_memory_peak_mib: null,
    gpu_utilization: null,
  });
  const { samples, run_s, cpu_s, memory_peak_mib } = usage!;
  expect(samples).toBeGreaterThanOrEqual(2);
  expect(run_s).toBeGreaterThan(0.8);
  expect(cpu_s).toBeGreaterThan(0.05);
  expect(cpu_s).toBeLessThan(run_s!);
  expect(memory_peak_mib).toBeGreaterThanOrEqual(8);
});

it('is told of a run that fails, too', async () => {
  const end = await endOf('sleep 1; exit 3');
  expect(end).toMatchObject({ kind: 'failed', exit_code: 3 });
  expect(end.usage?.run_s).toBeGreaterThan(0.8);
});

it('is told of a run that was cancelled', async () => {
  const task = scene.taskOf(scriptZip('sleep 60'));
  const running = await scene.bench.start(task);
  await scene.untilRunning(task);
  task.cancelRequested = true;
  const end = await task.settled;
  expect(end.kind).toBe('cancelled');
  expect(end.usage?.run_s).toBeGreaterThan(0);
  await running.cleaned;
});

it.each([2 ** 64 - 4096, -1, Number.NaN])('leaves out a counter that says %d', async (count) => {
  scene.bench.deps.engine = {
    ...engine,
    readUsage: () =>
      Promise.resolve({
        cpuSeconds: 0.5,
        memoryBytes: count * 1024 ** 2,
        readBytes: count,
        writtenBytes: 7,
      }),
  };
  const end = await endOf('sleep 1');
  expect(end.kind).toBe('finished');
  expect(end.usage).toMatchObject({ cpu_s: 0.5, memory_peak_mib: null, read_bytes: null });
  expect(end.usage?.written_bytes).toBe(7);
});

it('is what could be seen, when the engine does not tell', async () => {
  scene.bench.deps.engine = {
    ...engine,
    readUsage: () => Promise.reject(new EngineError('failed', 'no statistics')),
  };
  const end = await endOf('sleep 1');
  expect(end.kind).toBe('finished');
  expect(end.usage).toMatchObject({ samples: 0, cpu_s: null, memory_peak_mib: null });
  expect(end.usage?.run_s).toBeGreaterThan(0.8);
});

it('is looked at again after the engine was away', async () => {
  let asked = 0;
  scene.bench.deps.engine = {
    ...engine,
    readUsage(...of) {
      asked += 1;
      if (asked > 1) return engine.readUsage(...of);
      return Promise.reject(new EngineError('unreachable', 'it is away'));
    },
  };
  const { usage } = await endOf('sleep 3');
  expect(usage?.samples).toBeGreaterThan(0);
  expect(usage?.samples).toBeLessThan(asked);
});

it('is none of a container that never ran', async () => {
  const task = scene.taskOf(scriptZip('true'), { image: 'no-such-image:1' });
  const running = await scene.bench.start(task);
  expect(await task.settled).not.toHaveProperty('usage');
  await running.cleaned;
});

async function endOf(script: string) {
  const task = scene.taskOf(scriptZip(script));
  const running = await scene.bench.start(task);
  const end = await task.settled;
  await running.cleaned;
  return end;
}
