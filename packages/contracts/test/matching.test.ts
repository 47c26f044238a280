import { describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import {
  couldRun,
  isFor,
  needsInWords,
  parseLabels,
  partOf,
  type Capacity,
  type Needs,
} from '../src/index.js';

const cpu = (more: Partial<Capacity> = {}): Capacity => ({
  slots: 4,
  device: null,
  share: { cpus: 8, memory_mib: 16_000, cpus_per_task: null, memory_per_task_mib: null },
  process: 'p',
  labels: {},
  ...more,
});
const gpu = (memory: number | null, more: Partial<Capacity> = {}): Capacity =>
  cpu({ device: { uuid: 'GPU-1', name: null, memory_mib: memory, driver: null }, ...more });

describe('the part of a consumer that a run takes', () => {
  it.each<[string, Needs, Capacity, Partial<ReturnType<typeof partOf>>]>([
    [
      'is one slot of a CPU consumer, where it says nothing',
      needs(),
      cpu(),
      { isAlone: false, gpuMemoryMib: 0, cpus: 2, memoryMib: 4_000 },
    ],
    [
      'is what it says',
      needs({ cpus: 3, memory_mib: 100 }),
      cpu(),
      { isAlone: false, cpus: 3, memoryMib: 100 },
    ],
    [
      'is a whole GPU, where it does not say how much of it',
      needs({ use_gpu: true }),
      gpu(1_000),
      { isAlone: true, gpuMemoryMib: 0, cpus: 8, memoryMib: 16_000 },
    ],
    [
      'is a whole GPU, where a run took more than it says',
      needs({ use_gpu: true, gpu_memory_mib: 250, gpu_memory_exceeded: true }),
      gpu(1_000),
      { isAlone: true, gpuMemoryMib: 0, cpus: 8, memoryMib: 16_000 },
    ],
    [
      'is the memory that a task usually has there, where that is set',
      needs(),
      cpu({
        share: { cpus: 8, memory_mib: 16_000, cpus_per_task: null, memory_per_task_mib: 9_000 },
      }),
      { cpus: 2, memoryMib: 9_000 },
    ],
    [
      'is as much of the rest as of the GPU',
      needs({ use_gpu: true, gpu_memory_mib: 250 }),
      gpu(1_000),
      { isAlone: false, gpuMemoryMib: 250, cpus: 2, memoryMib: 4_000 },
    ],
    [
      'is the cores that a task usually has there, where that is set',
      needs(),
      cpu({
        share: { cpus: 8, memory_mib: 16_000, cpus_per_task: 6, memory_per_task_mib: null },
      }),
      { cpus: 6, memoryMib: 4_000 },
    ],
    [
      'is enough for a program, however little it takes of the GPU',
      needs({ use_gpu: true, gpu_memory_mib: 1 }),
      gpu(80_000),
      { isAlone: false, cpus: 0.01, memoryMib: 64 },
    ],
    [
      'is no more than there is, where that is less',
      needs({ use_gpu: true, gpu_memory_mib: 1 }),
      gpu(80_000, {
        share: { cpus: 0.005, memory_mib: 32, cpus_per_task: null, memory_per_task_mib: null },
      }),
      { isAlone: false, cpus: 0.005, memoryMib: 32 },
    ],
    [
      'is its part of what a task usually has, of each of several GPUs',
      needs({ use_gpu: true, gpu_count: 2 }),
      gpu(1_000, {
        share: { cpus: 8, memory_mib: 16_000, cpus_per_task: 4, memory_per_task_mib: 1_000 },
      }),
      { cpus: 2, memoryMib: 500 },
    ],
    [
      'is a whole GPU, where nobody can tell how much that has',
      needs({ use_gpu: true, gpu_memory_mib: 250 }),
      gpu(null),
      { isAlone: true, gpuMemoryMib: 0, cpus: 8 },
    ],
    [
      'is its part of each of several GPUs',
      needs({ use_gpu: true, gpu_count: 4, cpus: 8, memory_mib: 4_000 }),
      gpu(1_000),
      { isAlone: true, cpus: 2, memoryMib: 1_000 },
    ],
  ])('%s', (_what, of, consumer, part) => {
    expect(partOf(of, consumer)).toMatchObject(part);
  });

  it('is memory alone, of a replica on a CPU consumer that does not speak of cores', () => {
    const part = { isAlone: false, gpuMemoryMib: 0, cpus: 0, memoryMib: 512 };
    expect(partOf(needs(), cpu(), 'runtime')).toEqual(part);
    const said = needs({ cpus: 2, memory_mib: 100 });
    expect(partOf(said, cpu(), 'runtime')).toEqual({ ...part, cpus: 2, memoryMib: 100 });
    const ofGpu = needs({ use_gpu: true, gpu_memory_mib: 250 });
    expect(partOf(ofGpu, gpu(1_000), 'runtime')).toEqual(partOf(ofGpu, gpu(1_000)));
  });
});

describe('whether a consumer could run it', () => {
  const mig = gpu(1_000, {
    device: { uuid: 'MIG-1', name: null, memory_mib: 1_000, driver: null },
  });
  const compute = gpu(10_000, {
    device: { uuid: 'MIG-1', name: 'A100 MIG 1c.3g.20gb', memory_mib: 10_000, driver: null },
  });
  const some = needs({ use_gpu: true, gpu_memory_mib: 4_000 });
  it.each<[string, Needs, Capacity, boolean]>([
    ['a part of what compute instances share', some, compute, true],
    ['all of it', needs({ use_gpu: true }), compute, false],
    ['more of it than it says', { ...some, gpu_memory_exceeded: true }, compute, false],
    ['all of a slice', needs({ use_gpu: true }), mig, true],
    ['as much of /dev/shm as its memory', needs({ shm_mib: 4_000 }), cpu(), true],
    ['more of it than its memory', needs({ shm_mib: 4_001 }), cpu(), false],
    ['CPU work on a CPU consumer', needs(), cpu(), true],
    ['CPU work on a GPU', needs(), gpu(1_000), false],
    ['GPU work on a CPU consumer', needs({ use_gpu: true }), cpu(), false],
    ['GPU work on a GPU', needs({ use_gpu: true }), gpu(1_000), true],
    [
      'as much memory as there is',
      needs({ use_gpu: true, gpu_memory_mib: 1_000 }),
      gpu(1_000),
      true,
    ],
    ['more of it', needs({ use_gpu: true, gpu_memory_mib: 1_001 }), gpu(1_000), false],
    [
      'some, of nobody knows how much',
      needs({ use_gpu: true, gpu_memory_mib: 9 }),
      gpu(null),
      true,
    ],
    ['as many cores as there are', needs({ cpus: 8 }), cpu(), true],
    ['more cores', needs({ cpus: 8.1 }), cpu(), false],
    ['more memory', needs({ memory_mib: 16_001 }), cpu(), false],
    [
      'a label that it has',
      needs({ labels: { a: '1' } }),
      cpu({ labels: { a: '1', b: '2' } }),
      true,
    ],
    ['another value', needs({ labels: { a: '2' } }), cpu({ labels: { a: '1' } }), false],
    ['a label that it has not', needs({ labels: { a: '1' } }), cpu(), false],
    ['one GPU, on a slice', needs({ use_gpu: true }), mig, true],
    ['one of several GPUs, on a slice', needs({ use_gpu: true, gpu_count: 2 }), mig, false],
  ])('%s', (_what, of, consumer, could) => {
    expect(isFor(of, consumer)).toBe(could);
    if (of.gpu_count === 1) expect(couldRun(of, [consumer])).toBe(could);
  });

  it('takes several GPUs of one process together, and of no two', () => {
    const two = needs({ use_gpu: true, gpu_count: 2 });
    const here = gpu(1_000);
    const there = gpu(1_000, { process: 'q' });
    expect(couldRun(two, [here])).toBe(false);
    expect(couldRun(two, [here, there])).toBe(false);
    expect(couldRun(two, [here, there, here])).toBe(true);
    expect(couldRun(two, [here, gpu(1_000, { labels: { a: 'b' } })])).toBe(true);
    expect(couldRun({ ...two, labels: { a: 'b' } }, [here, gpu(1_000)])).toBe(false);
  });
});

it.each<[Needs, string]>([
  [needs(), 'a CPU consumer'],
  [needs({ use_gpu: true }), 'a GPU alone'],
  [
    needs({ use_gpu: true, gpu_memory_mib: 9, gpu_memory_exceeded: true }),
    'a GPU with 9 MiB alone',
  ],
  [needs({ shm_mib: 5 }), 'a CPU consumer, 5 MiB of /dev/shm'],
  [
    needs({ use_gpu: true, gpu_count: 2, gpu_memory_mib: 9, cpus: 1.5, labels: { a: 'b' } }),
    '2 GPUs of one host with 9 MiB each, 1.5 cores, the label a=b',
  ],
  [needs({ memory_mib: 5 }), 'a CPU consumer, 5 MiB of memory'],
])('is told in words: %j', (of, words) => {
  expect(needsInWords(of)).toBe(words);
});

it('reads labels', () => {
  expect(parseLabels('')).toEqual({});
  expect(parseLabels('a=1,b.c/d=')).toEqual({ a: '1', 'b.c/d': '' });
  expect(parseLabels('a=1,a=1')).toBeUndefined();
});
