import { availableParallelism, hostname, tmpdir, totalmem } from 'node:os';
import Type, { type Static } from 'typebox';
import {
  LabelsText,
  maxStoredInteger,
  parseLabels,
  type ConsumerRegistration,
  type Labels,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ContainerLimits } from '@inference-server/container-engine';
import { consumerToken, CrashAt, logLevels } from '@inference-server/service-kit';

const gib = 1024 ** 3;
const mib = 1024 ** 2;
const Count = (fallback: number) => Type.Integer({ minimum: 1, default: fallback });
const day = 24 * 3600;
/** What a timer waits for: the longest that there is has 24 days, and some pauses grow tenfold. */
const Seconds = (fallback: number) =>
  Type.Number({ exclusiveMinimum: 0, maximum: day, default: fallback });
const Optional = {
  count: Type.Optional(Type.Integer({ minimum: 1 })),
  number: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
};

/** The settings of the job consumer. */
export const Config = Type.Object({
  CONSUMER_ID: Type.Optional(
    Type.String({
      maxLength: 80,
      pattern: '^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$',
      description: 'Default: from the name of the host. With GPUs a number is put behind it.',
    }),
  ),
  PRIVATE_API_URL: Type.String({ pattern: '^https?://' }),
  /** The operator's token, of which the consumer's own is made. */
  PRIVATE_API_TOKEN: Type.Optional(Type.String({ minLength: 16 })),
  /** In place of PRIVATE_API_TOKEN: the token of this one consumer. */
  CONSUMER_TOKEN: Type.Optional(Type.String({ minLength: 16 })),
  REDIS_URL: Type.String({ pattern: '^rediss?://' }),
  QUEUE_PREFIX: Type.String({ default: 'inference-server', pattern: '^[A-Za-z0-9_-]+$' }),
  DOCKER_HOST: Type.String({ default: 'unix:///var/run/docker.sock' }),
  CPU_SLOTS: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 1024, description: 'Default: cores of the host.' }),
  ),
  GPUS: Type.String({
    default: 'none',
    pattern: '^[^\\s,]+(,[^\\s,]+)*$',
    description: 'none, or the devices (GPU UUIDs, MIG UUIDs, CDI names): one consumer each.',
  }),
  /** What models can ask for that is not a number: key=value,key=value. */
  CONSUMER_LABELS: Type.String({ ...LabelsText, default: '' }),
  IMAGE_RETRY_S: Seconds(30),
  CONTAINER_MEMORY_MIB: Optional.count,
  CONTAINER_CPUS: Optional.number,
  CONTAINER_PIDS: Count(4096),
  SHM_MIB: Count(1024),
  MAX_OUTPUT_BYTES: Count(20 * gib),
  /** What a container may write outside /output. */
  MAX_SCRATCH_BYTES: Count(50 * gib),
  MAX_OUTPUT_ENTRIES: Count(50_000),
  LOG_TAIL_BYTES: Type.Integer({ minimum: 1024, maximum: 256 * 1024, default: 256 * 1024 }),
  /** How long a model's files stay in the engine that no task uses. */
  MODEL_VOLUME_MAX_AGE_S: Type.Number({
    exclusiveMinimum: 0,
    maximum: maxStoredInteger,
    default: 30 * day,
  }),
  /** What the files of all models may take there together. 0: as much as they like. */
  MODEL_VOLUMES_MAX_BYTES: Type.Integer({ minimum: 0, default: 0 }),
  /** How often what is of no use any more is looked for. */
  SWEEP_INTERVAL_S: Seconds(60),
  WORK_DIR: Type.String({ default: tmpdir() }),
  /** Whether what runs at a stop is left to the next process of this name, or stopped and given back. */
  HAND_OVER: Type.Boolean({ default: true }),
  /** How long a start waits for another process of this name to be heard of no more. */
  PREDECESSOR_WAIT_S: Seconds(60),
  /** After so many faults of the device or the engine in a row no task is taken until a probe passes. */
  QUARANTINE_AFTER: Count(3),
  /** Before the first probe; each next pause is twice as long, up to ten times. */
  QUARANTINE_S: Seconds(60),
  STOP_GRACE_S: Seconds(30),
  /** Of the fault suite: where the process is to die, see service-kit. */
  CRASH_AT: CrashAt,
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
});
export type Config = Static<typeof Config>;

/** One consumer of the process: a number of CPU slots, or a GPU with one. */
export interface ConsumerIdentity {
  id: string;
  token: string;
  slots: number;
  device: ConsumerRegistration['device'];
  host: ConsumerRegistration['host'];
  /** What its tasks have of the host together. */
  share: ConsumerRegistration['share'];
  labels: Labels;
  /** Of a container whose model does not say what it needs. */
  limits: ContainerLimits;
}

/** The consumers that the settings ask for. Throws AppError when they contradict each other. */
export function consumersOf(config: Settings): [ConsumerIdentity, ...ConsumerIdentity[]] {
  const [first, ...others] = config.GPUS === 'none' ? [] : [...new Set(config.GPUS.split(','))];
  const host = hostname()
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 80);
  const labels = parseLabels(config.CONSUMER_LABELS);
  if (labels === undefined) throw invalid('CONSUMER_LABELS has a key twice.');
  const identityOf = (
    id: string,
    { slots, device }: Pick<ConsumerIdentity, 'slots' | 'device'>,
  ): ConsumerIdentity => ({
    ...{ id, token: tokenOf(config, id), slots, device, labels },
    ...resourcesOf(config, 1 + others.length, slots),
  });
  if (first === undefined) {
    const slots = config.CPU_SLOTS ?? availableParallelism();
    return [identityOf(config.CONSUMER_ID ?? `${host}-cpu`, { slots, device: null })];
  }
  if (config.CONSUMER_TOKEN !== undefined && others.length > 0) {
    throw invalid('CONSUMER_TOKEN is of one consumer: with several GPUs give PRIVATE_API_TOKEN.');
  }
  const ofGpu = (uuid: string, at: number) =>
    identityOf(`${config.CONSUMER_ID ?? host}-gpu-${at}`, {
      slots: 1,
      device: { uuid, name: null, memory_mib: null, driver: null },
    });
  return [ofGpu(first, 0), ...others.map((gpu, at) => ofGpu(gpu, at + 1))];
}

type Settings = Omit<Config, 'REDIS_URL'>;

function tokenOf(config: Settings, id: string): string {
  if (config.CONSUMER_TOKEN !== undefined) return config.CONSUMER_TOKEN;
  if (config.PRIVATE_API_TOKEN !== undefined) return consumerToken(config.PRIVATE_API_TOKEN, id);
  throw invalid('PRIVATE_API_TOKEN or CONSUMER_TOKEN: one of them is required.');
}

/**
 * The host's memory (a tenth stays free) and cores are shared out evenly between the consumers of the
 * process, and what is a consumer's, unless the settings say otherwise, between its slots.
 */
function resourcesOf(
  config: Settings,
  consumers: number,
  slots: number,
): Pick<ConsumerIdentity, 'host' | 'share' | 'limits'> {
  const host = { cpus: availableParallelism(), memory_mib: Math.floor(totalmem() / mib) };
  const share = {
    cpus: host.cpus / consumers,
    memory_mib: Math.floor((host.memory_mib * 0.9) / consumers),
    memory_per_task_mib: config.CONTAINER_MEMORY_MIB ?? null,
  };
  const memoryMib = share.memory_per_task_mib ?? Math.floor(share.memory_mib / slots);
  const limits = {
    memoryBytes: memoryMib * mib,
    cpus: config.CONTAINER_CPUS ?? Math.max(1, share.cpus / slots),
    processes: config.CONTAINER_PIDS,
    shmBytes: config.SHM_MIB * mib,
    logBytes: 16 * mib,
    // A longer one would be too long wherever it lay.
    fileBytes: Math.max(config.MAX_OUTPUT_BYTES, config.MAX_SCRATCH_BYTES),
  };
  return { host, share, limits };
}

function invalid(detail: string): AppError {
  return new AppError('VALIDATION_FAILED', detail);
}
