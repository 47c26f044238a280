import { readFileSync } from 'node:fs';
import { median } from '../statistics.js';

export type Phase = 'warm-up' | 'idle' | 'upload' | 'run' | 'download' | 'between';

export interface MemoryPeak {
  name: string;
  /** The median of the idle phase. */
  idleMib: number;
  /** Of all phases after it. */
  peakMib: number;
  /** The phase of the peak. */
  phase: Phase;
}

export interface MemorySampler {
  /** Whatever is measured from now on belongs to the phase. The warm-up ends with `idle`. */
  enter(phase: Phase): void;
  stop(): void;
  peaks(): MemoryPeak[];
}

/** Looks at the resident memory of the processes ten times a second. */
export function sampleMemory(processes: readonly { name: string; pid: number }[]): MemorySampler {
  const samples = new Map(processes.map(({ name }) => [name, [] as Sample[]]));
  let phase: Phase = 'warm-up';
  let isWarm = false;
  const timer = setInterval(() => {
    if (!isWarm) return;
    for (const { name, pid } of processes) {
      samples.get(name)?.push({ phase, mib: residentMib(pid) });
    }
  }, everyMs);
  return {
    enter(next) {
      phase = next;
      isWarm ||= next === 'idle';
    },
    stop: () => clearInterval(timer),
    peaks: () => [...samples].map(([name, taken]) => ({ name, ...peakOf(taken) })),
  };
}

interface Sample {
  phase: Phase;
  mib: number;
}

const everyMs = 100;

function peakOf(samples: readonly Sample[]): Omit<MemoryPeak, 'name'> {
  const idle = samples.filter(({ phase }) => phase === 'idle').map(({ mib }) => mib);
  const busy = samples.filter(({ phase }) => phase !== 'idle');
  const peak = busy.reduce((most, sample) => (sample.mib > most.mib ? sample : most), {
    phase: 'idle',
    mib: 0,
  });
  return { idleMib: median(idle), peakMib: peak.mib, phase: peak.phase };
}

/** Synchronous: the file is no disk's, and a sample that waits its turn is taken too late. */
function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}
