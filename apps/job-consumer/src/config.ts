import { tmpdir } from 'node:os';
import Type, { type Static } from 'typebox';
import { LabelsText, maxStoredInteger } from '@inference-server/contracts';
import {
  CrashAt,
  LogFileSettings,
  logLevels,
  Secret,
  SecretUrl,
} from '@inference-server/service-kit';

const gib = 1024 ** 3;
const Count = (fallback: number) => Type.Integer({ minimum: 1, default: fallback });
const day = 24 * 3600;
/** What a timer waits for: the longest that there is has 24 days, and some pauses grow tenfold. */
const Seconds = (fallback: number) =>
  Type.Number({ exclusiveMinimum: 0, maximum: day, default: fallback });
const Optional = {
  count: Type.Optional(Type.Integer({ minimum: 1 })),
  number: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
};

/** A GPU, a slice, or a CDI name, which may end in a number, but not in a word for all of them. */
const device = '(?:(?:GPU|MIG)-[^\\s,]+|[^\\s,=/]+/[^\\s,=/]+=(?!all(?:,|$))[^\\s,]+)';

/** The settings of the job consumer. */
export const Config = Type.Object({
  PRIVATE_API_URL: Type.String({ pattern: '^https?://' }),
  /** `consumer.<name>.<…>`: its consumers have this name, with GPUS each its device behind it. */
  CONSUMER_TOKEN: Secret(),
  REDIS_URL: SecretUrl({ pattern: '^rediss?://', password: 'REDIS_PASSWORD' }),
  QUEUE_PREFIX: Type.String({ default: 'inference-server', pattern: '^[A-Za-z0-9_-]+$' }),
  DOCKER_HOST: Type.String({ default: 'unix:///var/run/docker.sock' }),
  CPU_SLOTS: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 1024,
      description:
        'Tasks without a GPU side by side; 0: none. Default: the cores of its share of the host, 0 where GPUs are named.',
    }),
  ),
  HOST_SHARE: Type.Number({
    exclusiveMinimum: 0,
    maximum: 1,
    default: 1,
    description:
      'How much of the cores and memory of its host is for this process: those that use one engine have 1 together.',
  }),
  GPUS: Type.String({
    default: 'none',
    // Devices beside a word for others would be a contradiction.
    pattern: `^(?:auto|none|${device}(?:,${device})*)$`,
    description:
      'auto: all that nvidia-smi finds; none; or the devices (GPU-…, MIG-…, CDI names; no numbers): one consumer each.',
  }),
  /** In place of GPUS: the one device of this process. */
  GPU_UUID: Type.Optional(
    Type.String({
      pattern: `^${device}$`,
      description: 'One device: GPU-…, MIG-…, or a CDI name; no number.',
    }),
  ),
  /** Tasks side by side on one GPU: only of models that say what they take of its memory. */
  GPU_SLOTS: Type.Integer({ minimum: 1, maximum: 1024, default: 16 }),
  /** Of each GPU's memory what tasks do not get: what its driver takes, and who takes a little more than said. */
  GPU_RESERVE_MIB: Type.Integer({ minimum: 0, maximum: maxStoredInteger, default: 512 }),
  /** How often it is looked whether a running container still has its GPUs. */
  GPU_CHECK_S: Seconds(60),
  /** Whether in it, too, by nvidia-smi, which takes some of its memory. auto: where systemd can take them from it. */
  GPU_CHECK_INSIDE: Type.Enum(['auto', 'always', 'never'], { default: 'auto' }),
  /** Where this process has no nvidia-smi: an image (with glibc, and sleep) in which the engine's toolkit puts it. */
  GPU_HELPER_IMAGE: Type.Optional(Type.String({ minLength: 1 })),
  /** Where nvidia-smi is looked for. */
  PATH: Type.String({ default: '/usr/local/bin:/usr/bin:/bin' }),
  /** What models can ask for that is not a number: key=value,key=value. */
  CONSUMER_LABELS: Type.String({ ...LabelsText, default: '' }),
  /** What the operator allows models on this host. */
  POLICY_FILE: Type.Optional(Type.String()),
  /** Credentials of registries, as docker keeps them in its config.json. */
  REGISTRY_AUTH_FILE: Type.Optional(Type.String()),
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
  /** The networks of replicas are parts (/28) of this block, which nobody else of the host may have. */
  REPLICA_SUBNETS: Type.String({
    pattern: '^\\d{1,3}(?:\\.\\d{1,3}){3}/\\d{1,2}$',
    default: '10.213.0.0/16',
  }),
  /** From the start of a replica's container until it serves. */
  START_TIMEOUT_S: Seconds(120),
  /** The containers that are to reach replicas, where the gateways run in some: name,name. self: this process's. */
  GATEWAY_CONTAINERS: Type.String({
    pattern: '^(?:[A-Za-z0-9][A-Za-z0-9_.-]*(?:,[A-Za-z0-9][A-Za-z0-9_.-]*)*)?$',
    default: '',
  }),
  WORK_DIR: Type.String({ default: tmpdir() }),
  /** Whether what runs at a stop is left to the next process of this name, or stopped and given back. */
  HAND_OVER: Type.Boolean({ default: true }),
  /** How long a start waits for another process of this name to be heard of no more. */
  PREDECESSOR_WAIT_S: Seconds(60),
  /** After so many faults of the engine in a row, a lost device at once, no task is taken until a probe passes. */
  QUARANTINE_AFTER: Count(3),
  /** Before the first probe; each next pause is twice as long, up to ten times. */
  QUARANTINE_S: Seconds(60),
  STOP_GRACE_S: Seconds(30),
  /** Of the fault suite: where the process is to die, see service-kit. */
  CRASH_AT: CrashAt,
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
  ...LogFileSettings,
});
export type Config = Static<typeof Config>;
