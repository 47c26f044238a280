import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { consumerToken, newOperatorToken, publicApiToken } from '@inference-server/service-kit';
import { appProcess, stopGraceS, type AppProcess } from './app-process.js';
import type { EndedProcess } from './ended-process.js';
import type { Engine } from './engine.js';
import { freeAddress, local, type Links } from './links.js';
import type { LogLine } from './log-tail.js';

/** Our own processes, and what is needed to call them. */
export interface Apps {
  readonly publicApis: readonly AppProcess[];
  readonly privateApis: readonly AppProcess[];
  readonly consumers: readonly AppProcess[];
  /** One more, on the first engine, under a name that nobody had before; not started yet. */
  openPassingConsumer(): Promise<AppProcess>;
  /** Once it has ended: it never comes back. */
  closePassingConsumer(consumer: AppProcess): Promise<void>;
  /** Where clients call: both public-apis stand behind it. */
  readonly publicUrl: string;
  /** For calls in the name of an owner, as public-api makes them. */
  readonly privateUrl: string;
  readonly operatorToken: string;
  /** Of every key of the tickets. */
  readonly queuePrefix: string;
  /** Their TMPDIR. */
  readonly temporaryFolder: string;
}

export interface AppsSpec {
  folder: string;
  environment: NodeJS.ProcessEnv;
  links: Links;
  /** As it is reached beside every link. */
  databaseUrl: string;
  redis: { port: number; password: string };
  engines: readonly Engine[];
  storageFolder: string;
  smallFileSystem(path: string, sizeMib: number): Promise<string>;
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  onLine(process: string, line: LogLine): void;
  onEnd(end: EndedProcess): void;
  /** Takes what closes something that was opened here. */
  atEnd(close: () => Promise<unknown>): void;
  signal: AbortSignal;
}

/** How long a lease lasts when nobody renews it. */
export const leaseS = 6;
const heartbeatS = 1;
const gpuUuid = 'GPU-6f1c2a3b-0000-4000-8000-0123456789ab';
const gpuConsumer = 'job-consumer-gpu-gpu-6f1c2a3b';
const mib = 1024 ** 2;
const cpuSlots = 2;

/** What each consumer offers. */
const slotSettings: Record<string, Record<string, string>> = {
  'job-consumer-a': { CPU_SLOTS: String(cpuSlots) },
  'job-consumer-b': { CPU_SLOTS: String(cpuSlots) },
  'job-consumer-gpu': { GPUS: gpuUuid },
};

/** How many models' containers a consumer may run at once. */
export function slotsOf(consumerId: string): number {
  return consumerId === gpuConsumer ? 1 : cpuSlots;
}

/** How long an output stays that was fetched. */
export const fetchedRetentionS = 600;

/** Two public-apis, two private-apis, three consumers, each behind its links, and none started yet. */
export async function openApps(spec: AppsSpec): Promise<Apps> {
  const { folder, environment, links, redis, engines, storageFolder, smallFileSystem } = spec;
  const operatorToken = newOperatorToken();
  const queuePrefix = 'inference-server-faults';
  const temporaryFolder = join(folder, 'tmp');
  await mkdir(temporaryFolder);
  const shared = {
    QUEUE_PREFIX: queuePrefix,
    LOG_LEVEL: 'debug',
    STOP_GRACE_S: String(stopGraceS),
    TMPDIR: temporaryFolder,
  };
  const app = async (
    name: string,
    settings: Record<string, string>,
    isReady: (pid: number, startedAt: number) => Promise<boolean>,
    saysReady?: string,
  ) => {
    const { onLine, onEnd, signal } = spec;
    const opened = await appProcess({
      ...{ name, app: appOf(name), settings: { ...shared, ...settings } },
      ...{ workFolder: settings['WORK_DIR'] ?? storageFolder, folder, environment },
      ...{ isReady, onLine, onEnd, signal, ...(saysReady !== undefined && { saysReady }) },
    });
    spec.atEnd(opened.close);
    return opened;
  };
  const redisUrl = async (name: string) => {
    const port = await links.open(`${name}-redis`, local(redis.port));
    return `redis://:${redis.password}@127.0.0.1:${port}`;
  };

  const privateAddresses = [await freeAddress(), await freeAddress()];
  const privateApis = [];
  for (const [at, { port }] of privateAddresses.entries()) {
    const name = `private-api-${at + 1}`;
    const url = new URL(spec.databaseUrl);
    url.port = String(await links.open(`${name}-postgres`, local(Number(url.port))));
    // So that PostgreSQL can tell whose connection is whose.
    url.searchParams.set('application_name', name);
    const settings = {
      PORT: String(port),
      PRIVATE_API_TOKEN: operatorToken,
      DATABASE_URL: url.href,
      REDIS_URL: await redisUrl(name),
      STORAGE_URL: storageFolder,
      LEASE_S: String(leaseS),
      HEARTBEAT_S: String(heartbeatS),
      SWEEP_INTERVAL_S: '2',
      STORAGE_SWEEP_INTERVAL_S: '20',
      ABANDONED_AFTER_S: '10',
      ORPHANED_AFTER_S: '60',
      // Of a consumer that never comes back.
      CONSUMER_GONE_AFTER_S: '60',
      MIN_FREE_BYTES: String(128 * mib),
      // 10,000 tasks in 3 h: 560 of 10 min, 27 of them with 10 MiB on average, are 300 of 1,024 MiB.
      FETCHED_RETENTION_S: String(fetchedRetentionS),
    };
    privateApis.push(await app(name, settings, () => isUp(port)));
  }
  const toPrivate = async (name: string) =>
    `http://127.0.0.1:${await links.open(`${name}-private`, ...privateAddresses)}`;
  const publicAddresses = [await freeAddress(), await freeAddress()];
  const publicApis = [];
  for (const [at, { port }] of publicAddresses.entries()) {
    const name = `public-api-${at + 1}`;
    const settings = {
      PORT: String(port),
      PUBLIC_API_TOKEN: publicApiToken(operatorToken),
      PRIVATE_API_URL: await toPrivate(name),
      ANONYMOUS_ROLE: 'publish',
      ALLOW_PUBLIC_POST_MODEL: '1',
    };
    publicApis.push(await app(name, settings, () => isUp(port)));
  }
  const openConsumer = async (
    name: string,
    offered: Record<string, string>,
    { socketPath }: Pick<Engine, 'socketPath'>,
  ) => {
    const settings = {
      ...offered,
      CONSUMER_TOKEN: consumerToken(operatorToken, name),
      PRIVATE_API_URL: await toPrivate(name),
      REDIS_URL: await redisUrl(name),
      DOCKER_HOST: `tcp://127.0.0.1:${await links.open(`${name}-engine`, { path: socketPath })}`,
      CONTAINER_MEMORY_MIB: '64',
      CONTAINER_CPUS: '1',
      SHM_MIB: '16',
      IMAGE_RETRY_S: '4',
      QUARANTINE_S: '3',
      PREDECESSOR_WAIT_S: '60',
      SWEEP_INTERVAL_S: '5',
      WORK_DIR: await smallFileSystem(join(folder, `${name}-work`), 256),
    };
    const id = 'GPUS' in offered ? gpuConsumer : name;
    // A heartbeat of the one before it may be on its way still.
    return app(name, settings, (_, startedAt) => isHeard(id, startedAt), 'ready for tickets');
  };
  const consumers: AppProcess[] = [];
  for (const engine of engines) {
    for (const name of engine.serves) {
      consumers.push(await openConsumer(name, slotSettings[name] ?? {}, engine));
    }
  }
  let passing = 0;
  const publicUrl = `http://127.0.0.1:${await links.open('client-public', ...publicAddresses)}`;
  const privateUrl = await toPrivate('client');
  return {
    ...{ publicApis, privateApis, consumers, publicUrl, privateUrl },
    openPassingConsumer() {
      const [engine] = engines;
      if (engine === undefined) throw new Error('There is no engine.');
      passing += 1;
      const name = `job-consumer-passing-${passing}`;
      return openConsumer(name, { CPU_SLOTS: String(cpuSlots) }, engine);
    },
    async closePassingConsumer(consumer) {
      await consumer.close();
      await links.closeOf(consumer.name);
    },
    ...{ operatorToken, queuePrefix, temporaryFolder },
  };

  /** What was heard before it was started is another's. */
  async function isHeard(id: string, startedAt: number): Promise<boolean> {
    const rows = await spec.query(
      `SELECT 1 FROM consumers WHERE id = $1 AND state = 'ready'
          AND heartbeat_at > greatest(now() - interval '2 s', to_timestamp($2 / 1000.0))`,
      [id, startedAt],
    );
    return rows.length > 0;
  }
}

/** The folder in apps/. */
function appOf(name: string): string {
  const app = ['public-api', 'private-api', 'job-consumer'].find((one) => name.startsWith(one));
  if (app === undefined) throw new Error(`${name} is no app.`);
  return app;
}

/** Whether an API answers; what stands behind it may be away. */
async function isUp(port: number): Promise<boolean> {
  try {
    const url = `http://127.0.0.1:${port}/readyz`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
