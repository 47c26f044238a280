import { setTimeout as sleep } from 'node:timers/promises';
import { residentMib } from '../resident-memory.js';
import type { Way } from './transfer-client.js';

export type Phase = 'upload' | 'run' | 'download' | 'between';

export interface ProcessMemory {
  name: string;
  /** The least before the first load. */
  restMib: number;
  /** The most of each load, with the phase in which it was seen. */
  peaks: ReadonlyMap<Way, { mib: number; phase: Phase }>;
}

export interface MemorySampler {
  /** Waits until no process gives memory back any more; false when one still does after `timeoutMs`. */
  untilSettled(signal: AbortSignal): Promise<boolean>;
  /** Whatever is seen from now on belongs to this load. Until the first call all is rest. */
  enter(way: Way, phase: Phase): void;
  stop(): void;
  memories(): ProcessMemory[];
}

/** Looks at the resident memory of the processes ten times a second. */
export function sampleMemory(
  processes: readonly { name: string; pid: number }[],
  { quietMs, timeoutMs } = { quietMs: 20_000, timeoutMs: 60_000 },
): MemorySampler {
  const seen = processes.map(({ name, pid }) => ({
    name,
    pid,
    restMib: residentMib(pid),
    peaks: new Map<Way, { mib: number; phase: Phase }>(),
  }));
  let load: { way: Way; phase: Phase } | undefined;
  const timer = setInterval(() => {
    for (const memory of seen) {
      const mib = residentMib(memory.pid);
      if (load === undefined) {
        memory.restMib = Math.min(memory.restMib, mib);
        continue;
      }
      const peak = memory.peaks.get(load.way);
      if (peak === undefined || mib > peak.mib) {
        memory.peaks.set(load.way, { mib, phase: load.phase });
      }
    }
  }, everyMs);
  return {
    untilSettled: (signal) => untilSettled(processes, { quietMs, timeoutMs, signal }),
    enter: (way, phase) => {
      load = { way, phase };
    },
    stop: () => clearInterval(timer),
    memories: () => seen.map(({ name, restMib, peaks }) => ({ name, restMib, peaks })),
  };
}

const everyMs = 100;
const fallMib = 1;

/** Settled is who has not fallen by more than `fallMib` for `quietMs`, be it in many small steps. */
async function untilSettled(
  processes: readonly { pid: number }[],
  options: { quietMs: number; timeoutMs: number; signal: AbortSignal },
): Promise<boolean> {
  const began = performance.now();
  const marks = processes.map(({ pid }) => ({ pid, mib: residentMib(pid) }));
  let fellAt = began;
  while (performance.now() - fellAt < options.quietMs) {
    if (performance.now() - began > options.timeoutMs) return false;
    await sleep(everyMs, undefined, { signal: options.signal });
    for (const mark of marks) {
      const mib = residentMib(mark.pid);
      if (mib >= mark.mib - fallMib) continue;
      mark.mib = mib;
      fellAt = performance.now();
    }
  }
  return true;
}
