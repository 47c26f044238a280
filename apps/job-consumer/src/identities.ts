import type { ContainerLimits } from '@inference-server/container-engine';
import {
  parseLabels,
  partOf,
  type ConsumerRegistration,
  type Labels,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { consumerNameOf, partToken } from '@inference-server/service-kit';
import type { Config } from './config.js';
import { isOn, type Device } from './devices/find-devices.js';

/** What the engine's host has for the consumers of this process. */
export interface HostResources {
  cpus: number;
  memoryMib: number;
  /** `memory_mib`: all of it. */
  devices: readonly Device[];
}

/** One consumer of the process: a number of CPU slots, or a GPU. */
export interface ConsumerIdentity {
  id: string;
  token: string;
  slots: number;
  device: Device | null;
  host: ConsumerRegistration['host'];
  /** What its tasks have of the host together. */
  share: ConsumerRegistration['share'];
  labels: Labels;
  /** Of a container that has a slot, or the device alone, and whose model does not say what it needs. */
  limits: ContainerLimits;
}

/**
 * The consumers that the settings ask for, on this host. What this process has of its cores and memory (a tenth
 * of that stays free) is shared out evenly between them. Throws VALIDATION_FAILED when the settings contradict each other, or the host.
 */
export function consumersOf(
  config: Settings,
  host: HostResources,
): [ConsumerIdentity, ...ConsumerIdentity[]] {
  const { devices } = host;
  const labels = parseLabels(config.CONSUMER_LABELS);
  if (labels === undefined) throw invalid('CONSUMER_LABELS has a key twice.');
  const areNamed = config.GPU_UUID !== undefined || !['auto', 'none'].includes(config.GPUS);
  const ownCpus = host.cpus * config.HOST_SHARE;
  const cpuSlots =
    config.CPU_SLOTS ?? (areNamed ? 0 : Math.max(1, Math.floor(ownCpus / (1 + devices.length))));
  const count = devices.length + (cpuSlots > 0 ? 1 : 0);
  for (const [at, device] of devices.entries()) {
    const same = devices
      .slice(at + 1)
      .find((other) => isOn(device, other.uuid) || isOn(other, device.uuid));
    if (same !== undefined) {
      throw invalid(`One device, or a part of it, is named twice: ${device.uuid}, ${same.uuid}`);
    }
  }
  const process = callerOf(config);
  const identityOf = (
    part: string | null,
    of: Pick<ConsumerIdentity, 'slots' | 'device'>,
  ): ConsumerIdentity => {
    const caller =
      part === null
        ? process
        : { id: `${process.id}-${part}`, token: partToken(process.token, part) };
    return { ...caller, labels, ...of, ...resourcesOf(config, host, count, of) };
  };
  const isAlone = config.GPUS === 'none' && config.GPU_UUID === undefined;
  const [first, ...more] = [
    ...(cpuSlots > 0
      ? [identityOf(isAlone ? null : 'cpu', { slots: cpuSlots, device: null })]
      : []),
    ...devices.map((device) =>
      identityOf(`gpu-${idOf(device)}`, {
        slots: config.GPU_SLOTS,
        device: withoutReserve(device, config),
      }),
    ),
  ];
  const ids = [first, ...more].map((identity) => identity?.id);
  if (new Set(ids).size < ids.length) {
    throw invalid(`Two devices would have one name: ${devices.map(({ uuid }) => uuid).join(', ')}`);
  }
  if (first === undefined) {
    throw invalid('There is nothing to run tasks on: no GPU was found, and CPU_SLOTS is 0.');
  }
  return [first, ...more];
}

/** Under whose name a process of these settings speaks to private-api that runs no tasks. */
export function callerOf({ CONSUMER_TOKEN: token }: Pick<Config, 'CONSUMER_TOKEN'>): Caller {
  const id = consumerNameOf(token);
  if (id === undefined || !nameForm.test(id)) {
    throw invalid('CONSUMER_TOKEN is not the token of a consumer: consumer.<name>.<…>.');
  }
  return { id, token };
}

type Caller = Pick<ConsumerIdentity, 'id' | 'token'>;
type Settings = Omit<Config, 'REDIS_URL'>;

/** As long as leaves room for the device behind it. */
const nameForm = /^(?=.{1,58}$)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/;

/** Of the device alone, so that what runs on it is found again whatever else the host has. */
function idOf({ uuid }: Device): string {
  const name = uuid.replace(/^.*=/, '');
  // Of drivers before R470: a slice by its numbers.
  const [, gpu = '', instance = '', part = ''] =
    /^MIG-GPU-([0-9a-f]{8})-[0-9a-f-]*\/(\d+)\/(\d+)$/.exec(name) ?? [];
  if (gpu !== '') return `${gpu}-${instance}-${part}`;
  const short = /^(?:GPU|MIG)-([0-9a-f]{8})-/.exec(name)?.[1];
  const plain = name.replace(/^(GPU|MIG)-/, '').replace(/[^A-Za-z0-9]+/g, '-');
  return short ?? plain.replace(/^-|-$/g, '').slice(0, 36);
}

function withoutReserve(device: Device, { GPU_RESERVE_MIB: reserveMib }: Settings): Device {
  const { memory_mib: memoryMib } = device;
  return { ...device, memory_mib: memoryMib && Math.max(0, memoryMib - reserveMib) };
}

/**
 * On a CPU consumer what a task usually has is its part of three quarters: replicas, which have memory of it and
 * none of its slots, find room while tasks have all of those.
 */
function usualMemoryMib(
  memoryMib: number,
  { slots, device }: Pick<ConsumerIdentity, 'slots' | 'device'>,
): number | null {
  return device === null ? Math.floor((memoryMib * 3) / 4 / slots) : null;
}

/** Its even part of the host. Throws VALIDATION_FAILED when that is too little for what each task is to have. */
function resourcesOf(
  config: Settings,
  { cpus, memoryMib }: HostResources,
  consumers: number,
  of: Pick<ConsumerIdentity, 'slots' | 'device'>,
): Pick<ConsumerIdentity, 'host' | 'share' | 'limits'> {
  const host = { cpus, memory_mib: memoryMib };
  const part = config.HOST_SHARE / consumers;
  const share = {
    cpus: cpus * part,
    memory_mib: Math.floor(memoryMib * 0.9 * part),
    cpus_per_task: config.CONTAINER_CPUS ?? null,
    memory_per_task_mib:
      config.CONTAINER_MEMORY_MIB ?? usualMemoryMib(Math.floor(memoryMib * 0.9 * part), of),
  };
  const ofTask = partOf(noNeeds, { ...of, share });
  const words =
    of.device === null ? `each of ${of.slots} CPU slots` : `a task on ${of.device.uuid}`;
  if (ofTask.cpus > share.cpus || ofTask.memoryMib > share.memory_mib) {
    throw invalid(
      `CONTAINER_CPUS or CONTAINER_MEMORY_MIB gives ${words} more than the ${share.cpus} cores and ${share.memory_mib} MiB that its consumer has for all of them.`,
    );
  }
  if (ofTask.cpus < least.cpus || ofTask.memoryMib < least.memoryMib) {
    throw invalid(
      `The host has too little for ${words}: ${ofTask.cpus} cores, ${ofTask.memoryMib} MiB.`,
    );
  }
  const limits = {
    memoryBytes: Math.floor(ofTask.memoryMib) * mib,
    cpus: ofTask.cpus,
    processes: config.CONTAINER_PIDS,
    shmBytes: config.SHM_MIB * mib,
    logBytes: 16 * mib,
    // A longer one would be too long wherever it lay.
    fileBytes: Math.max(config.MAX_OUTPUT_BYTES, config.MAX_SCRATCH_BYTES),
  };
  return { host, share, limits };
}

/** Of a model that says nothing. */
const noNeeds = {
  ...{ use_gpu: false, gpu_count: 1, gpu_memory_mib: null, gpu_memory_exceeded: false },
  ...{ cpus: null, memory_mib: null, shm_mib: null, labels: {} },
};

/** As little as the engine takes (0.01 cores), and a program. */
const least = { cpus: 0.01, memoryMib: 8 };

function invalid(detail: string): AppError {
  return new AppError('VALIDATION_FAILED', detail);
}

const mib = 1024 ** 2;
