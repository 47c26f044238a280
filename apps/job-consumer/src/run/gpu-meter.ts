import type { ContainerEngine } from '@inference-server/container-engine';
import type { Usage } from '@inference-server/contracts';
import { uuidOf } from '../devices/find-devices.js';
import type { GpuProcess, GpuSample } from '../devices/gpu-sample.js';
import type { GpuSource } from '../devices/gpu-source.js';

/** Sees what an attempt's container does with its GPUs, as far as their driver tells. */
export interface GpuMeter {
  /** Rejects when it cannot be seen now. */
  look(container: string, signal: AbortSignal): Promise<void>;
  read(): Required<Pick<Usage, 'gpu_memory_peak_mib' | 'gpu_utilization'>>;
}

/**
 * The driver knows processes, the engine which of them are the container's: both by the numbers of the
 * host. A container has no GPU but its own, so of each process all counts. What it has of several GPUs is not
 * added up: a model says what it takes of each.
 */
export function createGpuMeter(
  engine: Pick<ContainerEngine, 'listProcesses'>,
  gpuSource: Pick<GpuSource, 'sample'>,
  gpus: readonly string[],
): GpuMeter {
  let peakMib: number | null = null;
  const busy = { percentMs: 0, ms: 0 };
  let lookedAt: number | undefined;

  const noteUtilization = ({ utilization }: GpuSample) => {
    const now = performance.now();
    // Each look stands for the time since the one before.
    const ms = now - (lookedAt ?? now - firstLookStandsForMs);
    lookedAt = now;
    const percents = gpus.flatMap((name) => utilization.get(uuidOf(name)) ?? []);
    if (percents.length === 0) return;
    const mean = percents.reduce((sum, percent) => sum + percent, 0) / percents.length;
    busy.percentMs += mean * ms;
    busy.ms += ms;
  };

  const noteMemory = (processes: readonly GpuProcess[]) => {
    const used = new Map<string, number>();
    for (const { gpu, memoryMib } of processes) used.set(gpu, (used.get(gpu) ?? 0) + memoryMib);
    if (used.size > 0) peakMib = Math.max(peakMib ?? 0, ...used.values());
  };

  return {
    async look(container, signal) {
      const sample = await gpuSource.sample(signal);
      if (sample === undefined) return;
      noteUtilization(sample);
      if (sample.processes.length === 0) return;
      const pids = (await engine.listProcesses(container, signal)) ?? [];
      noteMemory(sample.processes.filter(({ pid }) => pids.includes(pid)));
    },
    read: () => ({
      gpu_memory_peak_mib: peakMib,
      gpu_utilization: busy.ms === 0 ? null : Math.round((10 * busy.percentMs) / busy.ms) / 10,
    }),
  };
}

const firstLookStandsForMs = 100;
