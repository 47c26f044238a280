import type { Needs } from '@inference-server/contracts';

/** The columns of the contract's {@link Needs}, each of its name. */
const columns = [
  'use_gpu',
  'gpu_count',
  'gpu_memory_mib',
  'cpus',
  'memory_mib',
  'shm_mib',
  'labels',
] as const satisfies (keyof Needs)[];

/** They, as they stand in a list of columns. */
export const needsColumns = columns.join(', ');

/** The needs of a row of model_versions, as a JSON object. */
export function needsOf(row: string): string {
  const stored = columns.map((name) => `'${name}', ${row}.${name}`).join(', ');
  return `json_build_object(${stored}, 'gpu_memory_exceeded', ${exceeds(row)})`;
}

/** Whether a run of a row of model_versions took more of a GPU than its model says. */
export function exceeds(row: string): string {
  return `coalesce(${row}.gpu_memory_peak_mib > ${row}.gpu_memory_mib, false)`;
}
