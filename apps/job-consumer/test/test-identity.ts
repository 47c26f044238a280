import type { ContainerLimits } from '@inference-server/container-engine';
import type { ConsumerIdentity } from '../src/identities.js';
import type { RunDeps } from '../src/run/attempt-run.js';

/** A consumer with little of everything; a CPU consumer unless told otherwise. Each task has a core and 64 MiB. */
export function testIdentity(
  more: Partial<Omit<ConsumerIdentity, 'limits'>> & {
    id: string;
    limits?: Partial<ContainerLimits>;
  },
): ConsumerIdentity {
  return {
    token: 'none',
    slots: 1,
    device: null,
    host: { cpus: 2, memory_mib: 2_048 },
    share: {
      cpus: more.slots ?? 1,
      memory_mib: 1_024,
      cpus_per_task: null,
      memory_per_task_mib: 64,
    },
    labels: {},
    ...more,
    limits: {
      memoryBytes: 64 * 1024 ** 2,
      cpus: 1,
      processes: 100,
      shmBytes: 1024 ** 2,
      logBytes: 1024 ** 2,
      fileBytes: 1024 ** 3,
      ...more.limits,
    },
  };
}

/** Of a GPU of which nothing is known, or what a test says. */
export function testDevice(uuid: string, memoryMib: number | null = null) {
  return { uuid, name: null, memory_mib: memoryMib, driver: null };
}

/** Nobody can tell. */
export const noGpuSource: RunDeps['gpuSource'] = {
  troubleWith: async () => undefined,
  periodicTroubleWith: async () => undefined,
  sample: async () => undefined,
};
