import type { ConsumerRegistration } from './schemas/consumer.js';
import type { ModelKind } from './schemas/model.js';
import type { Needs } from './schemas/needs.js';

// What models need, held against what consumers have: for the dispatcher, which decides by it who runs
// what, and for a registration, which tells what nobody can run. Pure.

/** What a consumer has, as it registers. */
export type Capacity = Pick<
  ConsumerRegistration,
  'slots' | 'device' | 'share' | 'labels' | 'process'
>;

/** What a run takes of one consumer. */
export interface Part {
  /** Nobody else may have the device meanwhile. */
  isAlone: boolean;
  /** Of the device's memory; 0 where it has that alone, or there is none. */
  gpuMemoryMib: number;
  cpus: number;
  memoryMib: number;
}

/**
 * What a run takes of this consumer, one of the `gpu_count` that it has: by the dispatcher's books, by the
 * consumer's own, and, of all that it has together, what the engine keeps for its container. Of cores and memory
 * that the model does not speak of it gets what the consumer gives each, or else in proportion: of a CPU consumer
 * what is one slot's, of a GPU's share as much as it takes of the GPU, but enough to run a program.
 *
 * A replica (`runtime`) of a GPU gets what a run does. On a CPU consumer it has no task's place, and no cores
 * of its own that its model does not speak of: replicas are packed by their memory.
 */
export function partOf(
  needs: Needs,
  { slots, device, share }: Pick<Capacity, 'slots' | 'device' | 'share'>,
  kind: ModelKind = 'batch',
): Part {
  if (kind === 'runtime' && device === null) {
    return {
      isAlone: false,
      gpuMemoryMib: 0,
      // Tasks may have all of them: idle replicas need none, and the engine shares them out.
      cpus: needs.cpus ?? 0,
      memoryMib: needs.memory_mib ?? Math.min(replicaMemoryMib, share.memory_mib),
    };
  }
  const ofDevice = device?.memory_mib ?? null;
  const isAlone =
    device !== null &&
    (needs.gpu_memory_mib === null || needs.gpu_memory_exceeded || ofDevice === null);
  const gpuMemoryMib = device === null || isAlone ? 0 : (needs.gpu_memory_mib ?? 0);
  const fraction = device === null ? 1 / slots : isAlone ? 1 : gpuMemoryMib / (ofDevice ?? 1);
  const least = device === null ? { cpus: 0, memoryMib: 0 } : leastOnGpu;
  const amountOf = (said: number | null, whole: number, leastOfIt: number) =>
    said === null ? Math.max(Math.min(leastOfIt, whole), whole * fraction) : said / needs.gpu_count;
  return {
    isAlone,
    gpuMemoryMib,
    cpus: amountOf(needs.cpus ?? share.cpus_per_task ?? null, share.cpus, least.cpus),
    memoryMib: amountOf(
      needs.memory_mib ?? share.memory_per_task_mib,
      share.memory_mib,
      least.memoryMib,
    ),
  };
}

/** Host memory of a replica on a CPU consumer whose model does not say how much it takes (MiB). */
const replicaMemoryMib = 512;

/** Who takes next to nothing of a GPU still has a program to run. */
const leastOnGpu = { cpus: 0.01, memoryMib: 64 };

/** Whether the consumer, with nothing else on it, could run it, or its part of it. */
export function isFor(needs: Needs, consumer: Capacity, kind: ModelKind = 'batch'): boolean {
  const { device, share, labels } = consumer;
  if ((device !== null) !== needs.use_gpu) return false;
  // A process sees one slice of a GPU at most, whatever it was given.
  if (needs.gpu_count > 1 && /(^|=)MIG-/.test(device?.uuid ?? '')) return false;
  if ((needs.gpu_memory_mib ?? 0) > (device?.memory_mib ?? Infinity)) return false;
  const part = partOf(needs, consumer, kind);
  if (part.isAlone && sharesMemory(device)) return false;
  return (
    part.cpus <= share.cpus + roundingError &&
    part.memoryMib <= share.memory_mib + roundingError &&
    (needs.shm_mib ?? 0) <= part.memoryMib * needs.gpu_count + roundingError &&
    Object.entries(needs.labels).every(([key, value]) => labels[key] === value)
  );
}

/** A compute instance (its profile: 1c.3g.20gb) is kept from the cores of its neighbours, not from their memory. */
function sharesMemory(device: Capacity['device']): boolean {
  return / MIG \d+c\./.test(device?.name ?? '');
}

/**
 * Whether these, with nothing else on them, could run it: one, or as many of one process as it wants GPUs.
 * What runs on several is started by one of them with the devices of the others, which only their own
 * process can keep free.
 */
export function couldRun(
  needs: Needs,
  consumers: readonly Capacity[],
  kind: ModelKind = 'batch',
): boolean {
  const able = consumers.filter((consumer) => isFor(needs, consumer, kind));
  if (needs.gpu_count === 1) return able.length > 0;
  const inProcess = new Map<string, number>();
  for (const { process } of able) inProcess.set(process, (inProcess.get(process) ?? 0) + 1);
  return [...inProcess.values()].some((count) => count >= needs.gpu_count);
}

/** Of sums of fractions, in cores and in MiB. */
export const roundingError = 1e-6;

/** As a person reads it, e.g. "2 GPUs of one host with 8000 MiB each, 4 cores, the label site=lab". */
export function needsInWords(needs: Needs): string {
  const { use_gpu, gpu_count, gpu_memory_mib, cpus, memory_mib, shm_mib, labels } = needs;
  const each =
    (gpu_memory_mib === null ? '' : ` with ${gpu_memory_mib} MiB`) +
    (gpu_memory_mib === null || needs.gpu_memory_exceeded ? ' alone' : '');
  const words = [
    ...(use_gpu
      ? [
          gpu_count === 1
            ? `a GPU${each}`
            : `${gpu_count} GPUs of one host${each}${each && ' each'}`,
        ]
      : []),
    ...(use_gpu ? [] : ['a CPU consumer']),
    ...(cpus === null ? [] : [`${cpus} cores`]),
    ...(memory_mib === null ? [] : [`${memory_mib} MiB of memory`]),
    ...(shm_mib === null ? [] : [`${shm_mib} MiB of /dev/shm`]),
    ...Object.entries(labels).map(([key, value]) => `the label ${key}=${value}`),
  ];
  return words.join(', ');
}
