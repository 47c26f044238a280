import { availableParallelism } from 'node:os';
import Type, { type Static } from 'typebox';
import { defaultZipLimits } from '@inference-server/archive';
import { maxStoredInteger, UserName } from '@inference-server/contracts';
import {
  ChosenSecret,
  CrashAt,
  GivenSecret,
  LogFileSettings,
  logLevels,
  Secret,
  SecretUrl,
} from '@inference-server/service-kit';

const gib = 1024 ** 3;
const Port = (fallback: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: fallback });
const hour = 3600;
const day = 24 * hour;
/** Seconds that a timer waits for: the longest that there is has 24 days. */
const Interval = (fallback: number) =>
  Type.Number({ exclusiveMinimum: 0, maximum: 7 * day, default: fallback });
/** Seconds that the database counts. 68 years at most. */
const Age = (fallback: number) =>
  Type.Number({ exclusiveMinimum: 0, maximum: maxStoredInteger, default: fallback });
const AgeOrNone = (fallback: number) =>
  Type.Number({ minimum: 0, maximum: maxStoredInteger, default: fallback });
const RunTime = (fallback: number) =>
  Type.Integer({ minimum: 1, maximum: 30 * day, default: fallback });

/** The settings of private-api. */
export const Config = Type.Object({
  HOST: Type.String({ default: '127.0.0.1' }),
  PORT: Port(7000),
  DATABASE_URL: SecretUrl({ pattern: '^postgres(ql)?://', password: 'DATABASE_PASSWORD' }),
  REDIS_URL: SecretUrl({ pattern: '^rediss?://', password: 'REDIS_PASSWORD' }),
  /** Of every key in Redis. */
  QUEUE_PREFIX: Type.String({ default: 'inference-server', pattern: '^[A-Za-z0-9_-]+$' }),
  STORAGE_URL: Type.String({ description: 'A folder, or file:///…' }),
  PRIVATE_API_TOKEN: Secret(),
  /** Where the first admin key is written, to admin.key. Unset: an operator makes one by its token. */
  DATA_DIR: Type.Optional(Type.String()),
  /** A person with the role submit, made at the start if nobody has the name. */
  BOOTSTRAP_USER: Type.Optional(UserName),
  BOOTSTRAP_PASSWORD: Type.Optional(ChosenSecret()),
  /** From the next one on an address has to wait. 0: any number. */
  MAX_WRONG_PASSWORDS_PER_ADDRESS: Type.Integer({
    minimum: 0,
    maximum: maxStoredInteger,
    default: 20,
  }),
  /** log2 of scrypt's N: each more doubles the time of a guess, and its memory (16: 64 MiB). */
  PASSWORD_HASH_COST: Type.Integer({ minimum: 10, maximum: 20, default: 16 }),
  /** What the operator allows models. */
  POLICY_FILE: Type.Optional(Type.String()),
  MAX_UPLOAD_BYTES: Type.Integer({ minimum: 1, default: 20 * gib }),
  /** What a body must bring in every UPLOAD_WINDOW_S. 0: as slow as it likes. */
  MIN_UPLOAD_BYTES_PER_WINDOW: Type.Integer({ minimum: 0, default: 60 * 1024 }),
  UPLOAD_WINDOW_S: Interval(60),
  /** What uploads leave free on the disk that they are received on; outputs leave a tenth of it. */
  MIN_FREE_BYTES: Type.Integer({ minimum: 0, default: gib }),
  MAX_UNZIPPED_BYTES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxUnzippedBytes }),
  MAX_ZIP_ENTRIES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxEntries }),
  MAX_ZIP_RATIO: Type.Number({ exclusiveMinimum: 0, default: defaultZipLimits.maxRatio }),
  /** How many large zips are checked side by side, each on a core. */
  GATE_THREADS: Type.Integer({ minimum: 1, maximum: 64, default: halfTheCores() }),
  /** How many tasks may wait, in all and of one owner (0: as many); what comes beyond is a 429. */
  MAX_WAITING_TASKS: Type.Integer({ minimum: 1, default: 1_000_000 }),
  MAX_WAITING_TASKS_PER_OWNER: Type.Integer({ minimum: 0, default: 0 }),
  /** What one owner may have stored, and how long GPUs on one day (UTC); 0: as much. More is a 403. */
  MAX_STORED_BYTES_PER_OWNER: Type.Integer({ minimum: 0, default: 0 }),
  MAX_DAILY_GPU_S_PER_OWNER: Type.Integer({ minimum: 0, default: 0 }),
  /** From the post of a task: what has not been started by then expires. */
  QUEUE_TTL_S: Age(7 * day),
  /** How long a run of a model may take that has no `timeout_s`, and of any model. */
  RUN_TIMEOUT_S: RunTime(day),
  MAX_RUN_TIMEOUT_S: RunTime(30 * day),
  /** How long a replica that is let go is waited for by the calls that are under way on it (s). */
  MAX_CALL_S: Age(hour),
  /** What a model may say that its runs need, at most. */
  MAX_GPU_COUNT: Type.Integer({ minimum: 1, default: 64 }),
  MAX_GPU_MEMORY_MIB: Type.Integer({ minimum: 1, default: maxStoredInteger }),
  MAX_CPUS: Type.Number({ exclusiveMinimum: 0, default: 4096 }),
  MAX_MEMORY_MIB: Type.Integer({ minimum: 1, default: maxStoredInteger }),
  MAX_SHM_MIB: Type.Integer({ minimum: 1, default: maxStoredInteger }),
  /** What a runtime model may ask for at most: of replicas, and of those that are kept without a call. */
  MAX_REPLICAS: Type.Integer({ minimum: 1, default: 16 }),
  MAX_MIN_REPLICAS: Type.Integer({ minimum: 0, default: 4 }),
  /** Where a `model_url` may lead: file: below this folder. Unset: nowhere. */
  MODEL_SOURCE_DIR: Type.Optional(Type.String()),
  /** https: to these hosts, NAME or NAME:PORT, with commas between; * is any with an address of the internet. */
  MODEL_SOURCE_HOSTS: Type.Optional(Type.String()),
  /** s3: to these buckets, with commas between, of the store of S3_ENDPOINT. */
  MODEL_SOURCE_BUCKETS: Type.Optional(Type.String()),
  /** Certificates of authorities (PEM) that sources are believed by, beside those that Node knows. */
  MODEL_SOURCE_CA_FILE: Type.Optional(Type.String()),
  /** How long a source may say nothing. */
  MODEL_SOURCE_TIMEOUT_S: Interval(30),
  S3_ENDPOINT: Type.Optional(Type.String({ pattern: '^https?://' })),
  S3_REGION: Type.String({ default: 'us-east-1' }),
  S3_ACCESS_KEY_ID: Type.Optional(GivenSecret()),
  S3_SECRET_ACCESS_KEY: Type.Optional(GivenSecret()),
  /** Where invocations are kept; `memory`: for one private-api, until it ends. */
  INVOCATION_STORE: Type.Enum(['postgres', 'redis', 'memory'], { default: 'postgres' }),
  /** How long what a task leaves is kept after its end, and its output after it was fetched. */
  INPUT_RETENTION_S: AgeOrNone(0),
  OUTPUT_RETENTION_S: Age(7 * day),
  FETCHED_RETENTION_S: AgeOrNone(day),
  LOG_RETENTION_S: AgeOrNone(30 * day),
  /** How long it is told who did what. A mistake in it takes no evidence of today. */
  AUDIT_RETENTION_S: Type.Number({
    minimum: day,
    maximum: maxStoredInteger,
    default: 400 * day,
  }),
  SWEEP_INTERVAL_S: Interval(60),
  /** How often the rows are held against the files. */
  STORAGE_SWEEP_INTERVAL_S: Interval(hour),
  /** An upload of which no process has been heard for so long is given up. */
  ABANDONED_AFTER_S: Interval(15 * 60),
  /** A file that no row knows is let be for so long. */
  ORPHANED_AFTER_S: Age(hour),
  MAX_ATTEMPTS: Type.Integer({ minimum: 1, default: 5 }),
  LEASE_S: Interval(30),
  /** How long the lease of a consumer that was stopped waits for its successor. */
  PARK_S: Age(600),
  HEARTBEAT_S: Interval(5),
  /** Of whom nothing was heard for so long, and who holds nothing, leaves nothing in an engine. */
  CONSUMER_GONE_AFTER_S: Age(hour),
  STOP_GRACE_S: Interval(20),
  /** Of the fault suite: where the process is to die, see service-kit. */
  CRASH_AT: CrashAt,
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
  ...LogFileSettings,
});
export type Config = Static<typeof Config>;

function halfTheCores(): number {
  return Math.min(64, Math.max(1, Math.floor(availableParallelism() / 2)));
}
