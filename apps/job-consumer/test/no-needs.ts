import type { Needs } from '@inference-server/contracts';

/** Of a model that says nothing of what its runs need. */
export const noNeeds: Needs = {
  use_gpu: false,
  gpu_count: 1,
  gpu_memory_mib: null,
  gpu_memory_exceeded: false,
  cpus: null,
  memory_mib: null,
  shm_mib: null,
  labels: {},
};
