import type { Capacity, ConsumerRegistration } from '@inference-server/contracts';

/** What a CPU consumer has, large enough for whatever does not say how much it needs. */
export const plenty = {
  slots: 2,
  device: null,
  host: { cpus: 8, memory_mib: 8_192 },
  share: { cpus: 8, memory_mib: 8_192, cpus_per_task: null, memory_per_task_mib: null },
  process: 'process',
  labels: {},
} satisfies Partial<ConsumerRegistration>;

export function cpu(more: Partial<Capacity> = {}): Capacity {
  const { slots, device, share, process, labels } = plenty;
  return { slots, device, share, process, labels, ...more };
}

/** With a GPU of so much memory, and one slot unless it says otherwise. */
export function gpu(memoryMib: number | null, more: Partial<Capacity> = {}): Capacity {
  const device = { uuid: 'GPU-1', name: 'a GPU', memory_mib: memoryMib, driver: '1' };
  return cpu({ device, slots: 1, ...more });
}
