import { beforeAll, expect, it } from 'vitest';
import type { ModelRegistration } from '@inference-server/sdk';
import { waitUntil } from '@inference-server/testing';
import { untilReleased } from '../script-tasks.js';
import {
  consumerOf,
  divided,
  gpu,
  memoryOf,
  models,
  openGpuLab,
  reserveMib,
  seen,
  type GpuLab,
  type ModelName,
} from './gpu-lab.js';

/** Every device is used, none is fought over. */

let lab: GpuLab;
beforeAll(async () => {
  lab = await openGpuLab();
  // A look that is under way when they are told would still say what was before.
  for (const at of [1, 2]) await lab.gpus.tell(gpu(at).uuid, { utilization: 80 });
}, 120_000);

it('registers each device with what nvidia-smi tells of it, and the rest of the host', async () => {
  const found = await lab.consumers();
  expect(found.map(({ id, device }) => [device?.uuid, id])).toEqual(
    expect.arrayContaining([[undefined, 'lab-cpu'], ...Object.entries(consumerOf)]),
  );
  expect(found.find(({ id }) => id === 'lab-gpu-2a2d3b4c')?.device).toMatchObject({
    name: 'NVIDIA A100-SXM4-80GB MIG 1g.10gb',
    memory_mib: 9_728 - reserveMib,
  });
  expect(new Set(found.map(({ process }) => process)).size).toBe(1);
});

it.each([
  ['cpu', ['void']],
  ['large', [expect.stringMatching(/^GPU-[12]f/)]],
] as const)('gives a task of %s exactly what its model says', async (model, devices) => {
  expect(await lab.devicesSeenBy(await lab.post(model, seen()))).toEqual(devices);
});

it('tells how busy the GPUs of a run were', async () => {
  const uid = await lab.post('large', seen(2));
  await lab.devicesSeenBy(uid);
  const [attempt] = (await lab.server.client.getTaskStatus(uid)).attempts;
  expect(attempt?.usage).toMatchObject({ gpu_utilization: 80, gpu_memory_peak_mib: null });
});

it('gives a task two GPUs, and holds none of them twice', async () => {
  const [first, second] = await Promise.all([lab.post('pair', seen(1)), lab.post('pair', seen(1))]);
  for (const uid of [first, second]) {
    expect((await lab.devicesSeenBy(uid)).sort()).toEqual([gpu(1).uuid, gpu(2).uuid]);
  }
  await lab.expectNothingOvercommitted(new Map([first, second].map((uid) => [uid, 'pair'])));
});

it('has small tasks share devices as long as they fit, and leaves none idle', async () => {
  // Five on each whole GPU, four on the large slice, one on the small one.
  const uids = await Promise.all(
    Array.from({ length: 15 }, () => lab.post('small', untilReleased(seen()))),
  );
  for (const uid of uids) await lab.tasks.untilItRuns(uid);
  const waits = await lab.post('small', seen());
  for (const uid of uids) await lab.tasks.release(uid);
  await Promise.all([...uids, waits].map(lab.devicesSeenBy));
  await lab.expectNothingOvercommitted(new Map([...uids, waits].map((uid) => [uid, 'small'])));
}, 120_000);

it.each(['busy', 'wide'] as const)(
  'gives %s tasks no device together that has room for them, but not the cores or memory',
  async (model) => {
    const uids = await Promise.all(Array.from({ length: 8 }, () => lab.post(model, seen(1))));
    await Promise.all(uids.map(lab.devicesSeenBy));
    await lab.expectNothingOvercommitted(new Map(uids.map((uid) => [uid, model])));
  },
  120_000,
);

it('shares a device between tasks that say no more than what they take of it', async () => {
  const uids = await Promise.all(
    Array.from({ length: 8 }, () => lab.post('terse', untilReleased(seen()))),
  );
  for (const uid of uids) await lab.tasks.untilItRuns(uid);
  expect(new Set(await Promise.all(uids.map(lab.deviceOf))).size).toBeLessThan(4);
  for (const uid of uids) await lab.tasks.release(uid);
  await Promise.all(uids.map(lab.devicesSeenBy));
  await lab.expectNothingOvercommitted(new Map(uids.map((uid) => [uid, 'terse'])));
}, 120_000);

it('never over-commits a device with 200 random tasks, by the events of the engine', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = randomOf(seed);
  const names = (Object.keys(models) as ModelName[]).filter((name) => name !== 'greedy');
  const modelOf = new Map<string, ModelName>();
  for (let at = 0; at < 200; at += 1) {
    // Mostly small ones, as it is.
    const model = random() < 0.5 ? 'small' : names[Math.floor(random() * names.length)]!;
    modelOf.set(await lab.post(model, seen(Math.round(random() * 4) / 10)), model);
  }
  for (const [uid, model] of modelOf) {
    const devices = await lab.devicesSeenBy(uid);
    const { use_gpu: onGpu = false, gpu_count: count = 1 } = models[model] as ModelRegistration;
    const isRight = onGpu ? devices.every((one) => memoryOf.has(one)) : devices[0] === 'void';
    expect(
      isRight && new Set(devices).size === count,
      `seed ${seed}, ${model}: ${devices.join()}`,
    ).toBe(true);
    expect(await lab.tasks.attemptsOf(uid)).toHaveLength(1);
  }
  await lab.expectNothingOvercommitted(modelOf, `seed ${seed}`);
}, 300_000);

it('sees what a run takes of a GPU, and packs none any more that takes more than it says', async () => {
  const greedy = await lab.post('greedy', untilReleased(seen()));
  await lab.tasks.untilItRuns(greedy);
  // Where it fits tightest; the driver names the GPU of a slice.
  expect(await lab.deviceOf(greedy)).toBe(divided.largeSlice.uuid);
  const pid = await lab.processOf(greedy);
  await lab.gpus.setProcesses([
    { gpu: divided.uuid, pid, memoryMib: 30_001 },
    { gpu: divided.uuid, pid: process.pid, memoryMib: 5_000 },
  ]);
  // A sample may have been under way, and is of use for a while: the third is of now.
  const samples = async () =>
    (await lab.gpus.asked()).filter((question) => question.startsWith('--query-gpu')).length;
  const before = await samples();
  const isSampled = async () => (await samples()) >= before + 3;
  expect(await waitUntil(isSampled, { timeoutMs: 30_000 })).toBe(true);
  // It is told before its end.
  const isKnown = async () => (await lab.server.client.getModel('greedy')).gpu_memory_exceeded;
  expect(await waitUntil(isKnown, { timeoutMs: 15_000 })).toBe(true);
  await lab.tasks.release(greedy);
  await lab.devicesSeenBy(greedy);
  await lab.gpus.setProcesses([]);
  const [attempt] = (await lab.server.client.getTaskStatus(greedy)).attempts;
  expect(attempt?.usage).toMatchObject({ gpu_memory_peak_mib: 30_001, gpu_utilization: null });
  expect(await lab.server.client.getModel('greedy')).toMatchObject({
    gpu_memory_exceeded: true,
    gpu_memory_peak_mib: 30_001,
  });

  const alone = await lab.post('greedy', untilReleased(seen()));
  await lab.tasks.untilItRuns(alone);
  const beside = await Promise.all(Array.from({ length: 8 }, () => lab.post('small', seen())));
  await Promise.all(beside.map(lab.devicesSeenBy));
  await lab.tasks.release(alone);
  await lab.devicesSeenBy(alone);
  await lab.expectNothingOvercommitted(
    new Map<string, ModelName>([[alone, 'alone'], ...beside.map((uid) => [uid, 'small'] as const)]),
  );
}, 120_000);

it('asks nvidia-smi in a container, where the process has none', async () => {
  await lab.stop();
  for (const at of [1, 2]) await lab.gpus.tell(gpu(at).uuid, { utilization: 70 });
  await lab.start({ PATH: '/usr/bin:/bin', GPU_HELPER_IMAGE: lab.image });
  const uid = await lab.post('large', seen(2));
  expect(await lab.devicesSeenBy(uid)).toEqual([expect.stringMatching(/^GPU-[12]f/)]);
  const [attempt] = (await lab.server.client.getTaskStatus(uid)).attempts;
  expect(attempt?.usage).toMatchObject({ gpu_utilization: 70 });
  await lab.stop();
  await lab.tasks.expectNothingLeft();
}, 120_000);

/** mulberry32 (public domain). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
