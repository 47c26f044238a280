import type { ContainerLimits } from '@inference-server/container-engine';
import type { ConsumerIdentity } from '../src/identities.js';
import type { RunDeps } from '../src/run/attempt-run.js';

/** A consumer with little of everything, which its limits tell; a CPU consumer unless told otherwise. */
export function testIdentity(
  more: Partial<Omit<ConsumerIdentity, 'limits'>> & {
    id: string;
    limits?: Partial<ContainerLimits>;
  },
): ConsumerIdentity {
  const { slots = 1 } = more;
  const limits = {
    memoryBytes: 64 * mib,
    cpus: 1,
    processes: 100,
    shmBytes: mib,
    logBytes: mib,
    fileBytes: 1024 * mib,
    ...more.limits,
  };
  return {
    token: 'none',
    slots,
    device: null,
    host: { cpus: 2, memory_mib: 2_048 },
    share: {
      cpus: slots * limits.cpus,
      memory_mib: Math.max(1_024, (slots * limits.memoryBytes) / mib),
      cpus_per_task: null,
      memory_per_task_mib: limits.memoryBytes / mib,
    },
    labels: {},
    ...more,
    limits,
  };
}

const mib = 1024 ** 2;

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
