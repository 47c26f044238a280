import type { ContainerLimits, ContainerSpec, Labels, VolumeMount } from './container-engine.js';

/**
 * The container that runs a model: /input and /model can only be read, /output can be written, the
 * limits are those given, and the only device is the one named.
 */
export function modelContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  volumes: { input: string; output: string; model: string | null };
  limits: ContainerLimits;
  gpu: string | null;
}): ContainerSpec {
  const { name, image, labels, volumes, limits, gpu } = options;
  const mounts: VolumeMount[] = [
    { volume: volumes.input, path: '/input', readOnly: true },
    { volume: volumes.output, path: '/output', readOnly: false },
  ];
  if (volumes.model !== null)
    mounts.push({ volume: volumes.model, path: '/model', readOnly: true });
  return { name, image, labels, mounts, environment: visibleDevices(gpu), limits, gpu };
}

/**
 * A container that is only ever created: through it a volume is filled that the model's container
 * will mount read-only. Its command is none that any image has.
 */
export function stagingContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  mounts: readonly VolumeMount[];
}): ContainerSpec {
  return {
    ...options,
    command: ['/never-started'],
    environment: visibleDevices(null),
    limits: leastLimits,
    gpu: null,
  };
}

/**
 * A container that shows whether the engine starts any with these volumes, limits and this device. Its
 * image is to be one that holds no program: nothing runs in it.
 */
export function probeContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  volumes: readonly string[];
  limits: ContainerLimits;
  gpu: string | null;
}): ContainerSpec {
  const { volumes, gpu, ...rest } = options;
  return {
    ...rest,
    mounts: volumes.map((volume, at) => ({ volume, path: `/volumes/${at}`, readOnly: true })),
    command: ['/never-there'],
    environment: visibleDevices(gpu),
    gpu,
  };
}

const leastLimits: ContainerLimits = {
  memoryBytes: 64 * 1024 ** 2,
  cpus: 0.1,
  processes: 10,
  shmBytes: 1024 ** 2,
  logBytes: 64 * 1024,
  fileBytes: 1024 ** 2,
};

/** Whether containers of an image with this user setting (`user[:group]`) run as root. */
export function runsAsRoot(user: string): boolean {
  return ['', '0', 'root'].includes(user.split(':', 1)[0] ?? '');
}

/**
 * Where the engine's default runtime is NVIDIA's, an image's own NVIDIA_VISIBLE_DEVICES=all would
 * bring every GPU along: a container without a device says so. With one, the request decides.
 */
function visibleDevices(gpu: string | null): Record<string, string> {
  return gpu === null ? { NVIDIA_VISIBLE_DEVICES: 'void' } : {};
}
