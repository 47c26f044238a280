import { availableParallelism } from 'node:os';
import Type, { type Static } from 'typebox';
import { defaultZipLimits } from '@inference-server/archive';
import { logLevels } from '@inference-server/service-kit';

const gib = 1024 ** 3;
const Port = (fallback: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: fallback });
const Positive = (fallback: number) => Type.Number({ exclusiveMinimum: 0, default: fallback });

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
  /** What uploads leave free on the disk that they are received on. */
  MIN_FREE_BYTES: Type.Integer({ minimum: 0, default: gib }),
  MAX_UNZIPPED_BYTES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxUnzippedBytes }),
  MAX_ZIP_ENTRIES: Type.Integer({ minimum: 1, default: defaultZipLimits.maxEntries }),
  MAX_ZIP_RATIO: Positive(defaultZipLimits.maxRatio),
  /** How many large zips are checked side by side, each on a core. */
  GATE_THREADS: Type.Integer({ minimum: 1, maximum: 64, default: halfTheCores() }),
  MAX_ATTEMPTS: Type.Integer({ minimum: 1, default: 5 }),
  LEASE_S: Positive(30),
  /** How long the lease of a consumer that was stopped waits for its successor. */
  PARK_S: Positive(600),
  HEARTBEAT_S: Positive(5),
  /** How often what is of no use any more is looked for. */
  SWEEP_INTERVAL_S: Positive(60),
  STOP_GRACE_S: Positive(20),
  LOG_LEVEL: Type.Enum([...logLevels], { default: 'info' }),
});
export type Config = Static<typeof Config>;

function halfTheCores(): number {
  return Math.min(64, Math.max(1, Math.floor(availableParallelism() / 2)));
}
