import type { Needs } from '@inference-server/contracts';

/** What a model needs that says nothing, but for this. */
export function needs(more: Partial<Needs> = {}): Needs {
  return {
    use_gpu: false,
    gpu_count: 1,
    gpu_memory_mib: null,
    gpu_memory_exceeded: false,
    cpus: null,
    memory_mib: null,
    shm_mib: null,
    labels: {},
    ...more,
  };
}
