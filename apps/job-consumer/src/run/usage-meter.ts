import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerEngine } from '@inference-server/container-engine';
import { maxStoredInteger, type Usage } from '@inference-server/contracts';
import type { GpuSource } from '../devices/gpu-source.js';
import { createGpuMeter } from './gpu-meter.js';

/** Sees what an attempt's container uses, as far as that can be seen. Never fails. */
export interface UsageMeter {
  /** Looks at the running container again and again, until `signal` aborts. */
  watch(container: string, signal: AbortSignal): void;
  /** To be called when it has ended: looks how long it ran. Takes 5 s at most. */
  conclude(container: string): Promise<void>;
  /** Undefined: the container never ran. */
  read(): Usage | undefined;
}

/**
 * The engine's counters go with the container's end, so they are read while it runs: after 0.1 s, then
 * after twice as long, every 5 s at most. One that was adopted counts from its start, but for the peaks.
 * Its GPUs are looked at as often, beside that: an nvidia-smi that hangs keeps nothing else waiting.
 */
export function createUsageMeter(
  engine: Pick<ContainerEngine, 'readUsage' | 'inspectContainer' | 'listProcesses'>,
  gpuSource: Pick<GpuSource, 'sample'>,
  gpus: readonly string[],
): UsageMeter {
  const gpuMeter = createGpuMeter(engine, gpuSource, gpus);
  let usage: Usage | undefined;
  const looked = (): Usage => (usage ??= { ...nothing });

  const look = async (container: string, signal: AbortSignal): Promise<void> => {
    const found = await engine.readUsage(container, signal);
    // It has ended meanwhile.
    if (found === undefined) return;
    const before = looked();
    usage = {
      ...before,
      samples: before.samples + 1,
      cpu_s: amount(rounded(found.cpuSeconds)),
      memory_peak_mib: larger(
        before.memory_peak_mib,
        amount(Math.round(found.memoryBytes / 1024 ** 2), maxStoredInteger),
      ),
      read_bytes: amount(found.readBytes),
      written_bytes: amount(found.writtenBytes),
    };
  };

  return {
    watch(container, signal) {
      looked();
      const isOver = () => signal.aborted;
      const repeat = async (once: (of: string, bounds: AbortSignal) => Promise<void>) => {
        for (let pauseMs = firstMs; !isOver(); pauseMs = Math.min(2 * pauseMs, longestMs)) {
          await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
          // An engine that is away may be back at the next look.
          if (!isOver()) await once(container, signal).catch(() => undefined);
        }
      };
      void repeat(look);
      if (gpus.length > 0) void repeat((of, bounds) => gpuMeter.look(of, bounds));
    },
    async conclude(container) {
      const signal = AbortSignal.timeout(concludedWithinMs);
      const found = await engine.inspectContainer(container, signal).catch(() => undefined);
      if (found?.startedAt === undefined || found.endedAt === undefined) return;
      const run_s = rounded((found.endedAt.getTime() - found.startedAt.getTime()) / 1000);
      usage = { ...looked(), run_s, gpu_s: rounded(gpus.length * run_s) };
    },
    read: () => usage && { ...usage, ...gpuMeter.read() },
  };
}

const concludedWithinMs = 5_000;
const firstMs = 100;
const longestMs = 5_000;

const nothing: Usage = {
  samples: 0,
  run_s: null,
  cpu_s: null,
  memory_peak_mib: null,
  read_bytes: null,
  written_bytes: null,
  gpu_s: null,
};

/** A counter that wrapped round, or is none, is nothing that anybody saw: private-api would refuse it. */
function amount(value: number, most = Number.MAX_SAFE_INTEGER): number | null {
  return value >= 0 && value <= most ? value : null;
}

function larger(before: number | null, now: number | null): number | null {
  return before === null || now === null ? (before ?? now) : Math.max(before, now);
}

/** To milliseconds. A clock that was set back gives no negative time. */
function rounded(seconds: number): number {
  return Math.max(0, Math.round(seconds * 1000) / 1000);
}
