import type {
  ContainerLimits,
  ContainerSpec,
  Labels,
  SandboxOptions,
  VolumeMount,
} from './container-engine.js';

/**
 * The container that runs a model: /input and /model can only be read, /output can be written, the
 * limits are those given, and the only devices are those named. `sandbox`: where it is otherwise than usual.
 */
export function modelContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  volumes: { input: string; output: string; model: string | null };
  limits: ContainerLimits;
  gpus: readonly string[];
  sandbox?: SandboxOptions;
}): ContainerSpec {
  const { name, image, labels, volumes, limits, gpus, sandbox = {} } = options;
  const mounts: VolumeMount[] = [
    { volume: volumes.input, path: '/input', readOnly: true },
    { volume: volumes.output, path: '/output', readOnly: false },
  ];
  if (volumes.model !== null)
    mounts.push({ volume: volumes.model, path: '/model', readOnly: true });
  const environment = visibleDevices(gpus);
  return { name, image, labels, mounts, environment, limits, gpus, sandbox };
}

/**
 * The container of a replica: as a model's, but that it has no data of anybody's, and a network, in which it
 * serves on `port`: `network` is to be its own.
 */
export function replicaContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  /** The volume that is its /model. */
  model: string;
  port: number;
  network: string;
  limits: ContainerLimits;
  gpus: readonly string[];
  sandbox?: Omit<SandboxOptions, 'network'>;
}): ContainerSpec {
  const { name, image, labels, model, port, network, limits, gpus, sandbox = {} } = options;
  return {
    ...{ name, image, labels, limits, gpus },
    mounts: [{ volume: model, path: '/model', readOnly: true }],
    environment: { ...visibleDevices(gpus), APP_PORT: `${port}` },
    sandbox: { knowsNoNames: true, ...sandbox, network },
  };
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
    environment: visibleDevices([]),
    limits: leastLimits,
    gpus: [],
  };
}

/**
 * A container that shows whether the engine starts any with these volumes, limits and devices. Its
 * image is to be one that holds no program: nothing runs in it.
 */
export function probeContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  volumes: readonly string[];
  limits: ContainerLimits;
  gpus: readonly string[];
  sandbox?: SandboxOptions;
}): ContainerSpec {
  const { volumes, gpus, ...rest } = options;
  return {
    ...rest,
    mounts: volumes.map((volume, at) => ({ volume, path: `/volumes/${at}`, readOnly: true })),
    command: ['/never-there'],
    environment: visibleDevices(gpus),
    gpus,
  };
}

/**
 * A container that tells of the GPUs of the engine's host, since it has them: the vendor's hook brings the
 * driver's program into any image, to be run there. Only where it sees the host's processes does that tell of
 * them. It sleeps for an hour at most, so that one of which nobody knows ends. `gpus` is `all`, or a CDI name.
 */
export function discoveryContainer(options: {
  name: string;
  image: string;
  labels: Labels;
  gpus: string;
}): ContainerSpec {
  const { gpus, ...rest } = options;
  return {
    ...rest,
    command: ['sleep', '3600'],
    mounts: [],
    seesHostProcesses: true,
    // An image may name other parts of the driver, without its programs.
    environment: { NVIDIA_DRIVER_CAPABILITIES: 'utility' },
    limits: discoveryLimits,
    gpus: [gpus],
  };
}

/** The driver's library maps a good deal for each GPU. */
const discoveryLimits: ContainerLimits = {
  memoryBytes: 1024 ** 3,
  cpus: 1,
  processes: 100,
  shmBytes: 1024 ** 2,
  logBytes: 64 * 1024,
  fileBytes: 1024 ** 2,
};

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
function visibleDevices(gpus: readonly string[]): Record<string, string> {
  return gpus.length === 0 ? { NVIDIA_VISIBLE_DEVICES: 'void' } : {};
}
