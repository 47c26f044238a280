import type { ContainerLimits } from '@inference-server/container-engine';
import { parseLabels, type ConsumerRegistration, type Labels } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { consumerNameOf, partToken } from '@inference-server/service-kit';
import type { Config } from './config.js';
import type { Device } from './devices/find-devices.js';

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
  /** Of a container that has a slot, or the device, and whose model does not say what it needs. */
  limits: ContainerLimits;
  /** Null: what the model does not say depends on what else it has. */
  cpusPerTask: number | null;
}

/**
 * The consumers that the settings ask for, on this host. Its cores and memory (a tenth stays free) are
 * shared out evenly between them. Throws VALIDATION_FAILED when the settings contradict each other, or the host.
 */
export function consumersOf(
  config: Settings,
  host: HostResources,
): [ConsumerIdentity, ...ConsumerIdentity[]] {
  const { devices } = host;
  const labels = parseLabels(config.CONSUMER_LABELS);
  if (labels === undefined) throw invalid('CONSUMER_LABELS has a key twice.');
  const areNamed = config.GPU_UUID !== undefined || !['auto', 'none'].includes(config.GPUS);
  const cpuSlots =
    config.CPU_SLOTS ?? (areNamed ? 0 : Math.max(1, Math.floor(host.cpus / (1 + devices.length))));
  const count = devices.length + (cpuSlots > 0 ? 1 : 0);
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

/** What is a consumer's is, unless the settings say otherwise, shared out between its CPU slots. */
function resourcesOf(
  config: Settings,
  { cpus, memoryMib }: HostResources,
  consumers: number,
  { slots, device }: Pick<ConsumerIdentity, 'slots' | 'device'>,
): Pick<ConsumerIdentity, 'host' | 'share' | 'limits' | 'cpusPerTask'> {
  const host = { cpus, memory_mib: memoryMib };
  const share = {
    cpus: cpus / consumers,
    memory_mib: Math.floor((memoryMib * 0.9) / consumers),
    memory_per_task_mib: config.CONTAINER_MEMORY_MIB ?? null,
  };
  const parts = device === null ? slots : 1;
  const limits = {
    memoryBytes: (share.memory_per_task_mib ?? Math.floor(share.memory_mib / parts)) * mib,
    cpus: config.CONTAINER_CPUS ?? Math.max(1, share.cpus / parts),
    processes: config.CONTAINER_PIDS,
    shmBytes: config.SHM_MIB * mib,
    logBytes: 16 * mib,
    // A longer one would be too long wherever it lay.
    fileBytes: Math.max(config.MAX_OUTPUT_BYTES, config.MAX_SCRATCH_BYTES),
  };
  return { host, share, limits, cpusPerTask: config.CONTAINER_CPUS ?? null };
}

function invalid(detail: string): AppError {
  return new AppError('VALIDATION_FAILED', detail);
}

const mib = 1024 ** 2;
