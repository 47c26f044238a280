import type { ContainerLimits } from '@inference-server/container-engine';

/** For containers that do next to nothing. */
export const smallLimits: ContainerLimits = {
  memoryBytes: 32 * 1024 ** 2,
  cpus: 0.5,
  processes: 10,
  shmBytes: 1024 ** 2,
  logBytes: 64 * 1024,
  fileBytes: 1024 ** 2,
};
