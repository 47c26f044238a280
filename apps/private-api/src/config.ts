import { availableParallelism } from 'node:os';
import Type, { type Static } from 'typebox';
import { defaultZipLimits } from '@inference-server/archive';
import { logLevels } from '@inference-server/service-kit';

const gib = 1024 ** 3;
const Port = (fallback: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: fallback });
const hour = 3600;
const day = 24 * hour;
const Positive = (fallback: number) => Type.Number({ exclusiveMinimum: 0, default: fallback });
const NotNegative = (fallback: number) => Type.Number({ minimum: 0, default: fallback });

/** The settings of private-api. */
export const Config = Type.Object({
  HOST: Type.String({ default: '127.0.0.1' }),
  PORT: Port(7000),
  DATABASE_URL: Type.String({ pattern: '^postgres(ql)?://' }),
  REDIS_URL: Type.String({ pattern: '^rediss?://' }),
  /** Of every key in Redis. */
  QUEUE_PREFIX: Type.String({ default: 'inference-server', pattern: '^[A-Za-z0-9_-]+$' }),
  STORAGE_URL: Type.String({ description: 'A folder, or file:///…' }),
  PRIVATE_API_TOKEN: Type.String({ minLength: 16 }),
  MAX_UPLOAD_BYTES: Type.Integer({ minimum: 1, default: 20 * gib }),
  /** What a body must bring in every UPLOAD_WINDOW_S. 0: as slow as it likes. */
  MIN_UPLOAD_BYTES_PER_WINDOW: Type.Integer({ minimum: 0, default: 60 * 1024 }),
  UPLOAD_WINDOW_S: Positive(60),
  /** What uploads leave free on the disk that they are received on; outputs leave a tenth of it. */
  MIN_FREE_BYTES: Type.Integer({ minimum: 0, default: gib }),
  MAX_UNZIPPED_BYTES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxUnzippedBytes }),
  MAX_ZIP_ENTRIES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxEntries }),
  MAX_ZIP_RATIO: Positive(defaultZipLimits.maxRatio),
  /** How many large zips are checked side by side, each on a core. */
  GATE_THREADS: Type.Integer({ minimum: 1, maximum: 64, default: halfTheCores() }),
  /** How many tasks may wait, in all and of one owner (0: as many); what comes beyond is a 429. */
  MAX_WAITING_TASKS: Type.Integer({ minimum: 1, default: 1_000_000 }),
  MAX_WAITING_TASKS_PER_OWNER: Type.Integer({ minimum: 0, default: 0 }),
  /** From the post of a task: what has not been started by then expires. */
  QUEUE_TTL_S: Positive(7 * day),
  /** The longest `timeout_s` that a model may ask for. */
  MAX_RUN_TIMEOUT_S: Type.Integer({ minimum: 1, default: 30 * day }),
  /** How long what a task leaves is kept after its end, and its output after it was fetched. */
  INPUT_RETENTION_S: NotNegative(0),
  OUTPUT_RETENTION_S: Positive(7 * day),
  FETCHED_RETENTION_S: NotNegative(day),
  LOG_RETENTION_S: NotNegative(30 * day),
  SWEEP_INTERVAL_S: Positive(60),
  /** How often the rows are held against the files. */
  STORAGE_SWEEP_INTERVAL_S: Positive(hour),
  /** An upload of which no process has been heard for so long is given up. */
  ABANDONED_AFTER_S: Positive(15 * 60),
  /** A file that no row knows is let be for so long. */
  ORPHANED_AFTER_S: Positive(hour),
  MAX_ATTEMPTS: Type.Integer({ minimum: 1, default: 5 }),
  LEASE_S: Positive(30),
  /** How long the lease of a consumer that was stopped waits for its successor. */
  PARK_S: Positive(600),
  HEARTBEAT_S: Positive(5),
  /** Of whom nothing was heard for so long, and who holds nothing, leaves nothing in an engine. */
  CONSUMER_GONE_AFTER_S: Positive(hour),
  STOP_GRACE_S: Positive(20),
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
});
export type Config = Static<typeof Config>;

function halfTheCores(): number {
  return Math.min(64, Math.max(1, Math.floor(availableParallelism() / 2)));
}
