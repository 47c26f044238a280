import { describe, expect, it } from 'vitest';
import type { GpuSample } from '../src/devices/gpu-sample.js';
import { createGpuMeter } from '../src/run/gpu-meter.js';

const [first, second] = ['GPU-1', 'GPU-2'];
const slice = 'MIG-1';
const never = new AbortController().signal;

/** A container with the processes 10 and 11, and what the driver tells at each look. */
function meterOf(gpus: readonly string[], samples: readonly (GpuSample | undefined)[]) {
  const left = [...samples];
  let asked = 0;
  const engine = {
    listProcesses: () => {
      asked += 1;
      return Promise.resolve([10, 11]);
    },
  };
  const meter = createGpuMeter(engine, { sample: () => Promise.resolve(left.shift()) }, gpus);
  const lookAtAll = async () => {
    for (let at = 0; at < samples.length; at += 1) await meter.look('container', never);
    return meter.read();
  };
  return { lookAtAll, meter, askedEngine: () => asked };
}

const on = (gpu: string, pid: number, memoryMib: number) => ({ gpu, pid, memoryMib });
const sample = (
  processes: GpuSample['processes'],
  utilization: [string, number][] = [],
): GpuSample => ({ processes, utilization: new Map(utilization) });

describe('the memory of GPUs that a container is seen to have', () => {
  it.each<[string, string[], (GpuSample | undefined)[], number | null]>([
    ['is nothing before anything was seen', [first], [], null],
    ['is nothing where nobody can tell', [first], [undefined], null],
    ['is nothing of others', [first], [sample([on(first, 99, 500)])], null],
    ['is all that its processes have', [first], [sample([on(first, 10, 5), on(first, 11, 7)])], 12],
    [
      'is the most that was ever there',
      [first],
      [sample([on(first, 10, 5)]), sample([on(first, 10, 9)]), sample([])],
      9,
    ],
    [
      'is that of one GPU, where it has several',
      [first, second],
      [sample([on(first, 10, 5), on(second, 10, 8), on(second, 99, 50)])],
      8,
    ],
    [
      'is found by the process, where the driver names the GPU of a slice',
      [slice],
      [sample([on(first, 11, 6)])],
      6,
    ],
    ['may be 0', [first], [sample([on(first, 10, 0)])], 0],
  ])('%s', async (_what, gpus, samples, expected) => {
    const { gpu_memory_peak_mib: peakMib } = await meterOf(gpus, samples).lookAtAll();
    expect(peakMib).toBe(expected);
  });

  it('is not asked of the engine where no process is seen at all', async () => {
    const { lookAtAll, askedEngine } = meterOf([first], [sample([], [[first, 5]])]);
    await lookAtAll();
    expect(askedEngine()).toBe(0);
  });
});

describe('how busy the GPUs of a container are seen to be', () => {
  it.each<[string, string[], GpuSample[], number | null]>([
    ['is not known of a slice', [slice], [sample([], [[first, 90]])], null],
    [
      'is what the driver says',
      [first],
      [
        sample(
          [],
          [
            [first, 90],
            [second, 10],
          ],
        ),
      ],
      90,
    ],
    [
      'is the mean of several',
      [first, second],
      [
        sample(
          [],
          [
            [first, 90],
            [second, 10],
          ],
        ),
      ],
      50,
    ],
    ['is known of a CDI name', [`nvidia.com/gpu=${first}`], [sample([], [[first, 7]])], 7],
  ])('%s', async (_what, gpus, samples, expected) => {
    const { gpu_utilization: percent } = await meterOf(gpus, samples).lookAtAll();
    expect(percent).toBe(expected);
  });

  it('is the mean of its time, whenever it was looked at', async () => {
    const { meter } = meterOf([first], [sample([], [[first, 0]]), sample([], [[first, 100]])]);
    await meter.look('container', never);
    await new Promise((resolve) => setTimeout(resolve, 900));
    await meter.look('container', never);
    // 0.1 s of 0, then 0.9 s and what the timer was late of 100.
    const { gpu_utilization: percent } = meter.read();
    expect(percent).toBeGreaterThanOrEqual(89.9);
    expect(percent).toBeLessThan(100);
  });
});
