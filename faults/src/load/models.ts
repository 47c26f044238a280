import type { ModelRegistration } from '@inference-server/sdk';
import type { World } from '../world/world.js';

/** The models of a load. All run the script that a task brings. */
export const modelNames = ['script', 'with-files', 'gpu', 'short', 'retried', 'pulled'] as const;
export type ModelName = (typeof modelNames)[number];

/** How each is registered, beside its image. */
export const modelSettings: Record<
  ModelName,
  Omit<ModelRegistration, 'human_readable_id' | 'container_tag'>
> = {
  script: { timeout_s: 600 },
  'with-files': {},
  gpu: { use_gpu: true },
  short: { timeout_s: 3 },
  retried: { retries: 1 },
  pulled: {},
};

/** The image of `pulled`, which no engine has until it was pulled, and which can be had again. */
export function pulledImage({ registryAddress }: Pick<World, 'registryAddress'>): string {
  return `${registryAddress}/inference-server-faults/pulled:1`;
}
