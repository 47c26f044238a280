import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import {
  findFreePort,
  startPostgres,
  startRedis,
  type LocalService,
} from '@inference-server/local-services';
import { publicApiToken } from '@inference-server/service-kit';
import { openApps, type Apps } from './apps.js';
import type { EndedProcess } from './ended-process.js';
import { deviceHook, engineOn, type Engine } from './engine.js';
import { watchEngine, type ContainerEvent, type EngineWatch } from './engine-events.js';
import type { Link } from './link.js';
import { local, openLinks } from './links.js';
import type { LogLine } from './log-tail.js';
import { askRedis } from './redis-commands.js';
import { startRegistry } from './registry.js';
import { restartable, type Service } from './service.js';

export type { Engine } from './engine.js';

/** What the world tells of itself, for the run's log and its checks. */
export interface Listeners {
  onLine(process: string, line: LogLine): void;
  onContainer(event: ContainerEvent): void;
  onEnd(end: EndedProcess): void;
}

/**
 * The whole server as processes of this machine, in the network and mount namespace of this process:
 * two public-apis, two private-apis, three consumers on two engines, one of them with a GPU that is a
 * hook of ours. Between every two of them lies a link.
 *
 *   client ─▶ public-api 1, 2 ─▶ private-api 1, 2 ─▶ PostgreSQL, Redis
 *                                      ▲
 *   consumer a, b, gpu ────────────────┘   consumer ─▶ Redis, engine a (a) or b (b, gpu) ─▶ registry
 */
export interface World extends Apps {
  readonly folder: string;
  readonly postgres: Service;
  readonly redis: Service & { ask(...commands: readonly string[]): Promise<string> };
  /** Beside every link. */
  readonly redisUrl: string;
  readonly registry: Service;
  /** What the name of an image begins with that the engines are to pull: a link lies before it. */
  readonly registryAddress: string;
  readonly engines: readonly Engine[];
  /** Of each engine. */
  readonly watches: readonly EngineWatch[];
  readonly links: ReadonlyMap<string, Link>;
  readonly publicApiToken: string;
  /** A small file system: blobs. */
  readonly storageFolder: string;
  /** While this file is there the device cannot be given: a byte more for each time. */
  readonly brokenDevice: string;
  /** The private-api that said last that it hands out tickets. */
  leader(): { name: string; pid: number } | undefined;
  /** The attempts, by uid and number, of which a consumer has said since then (Unix, ms) that a renewal failed. */
  unrenewedSince(from: number): string[];
  /** Asks the database beside every link. */
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Asks every process of ours to end, and waits: the services run on. */
  endApps(): Promise<void>;
  close(): Promise<void>;
}

export const registryLink = 'engines-registry';

export async function openWorld(
  folder: string,
  environment: NodeJS.ProcessEnv,
  listeners: Listeners,
  signal: AbortSignal,
): Promise<World> {
  const ends: (() => Promise<unknown>)[] = [];
  const close = async () => {
    const failures: unknown[] = [];
    for (const end of ends.splice(0).reverse()) {
      await end().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, 'The world could not be closed.');
  };
  try {
    const world = await build();
    return { ...world, close };
  } catch (error) {
    await close();
    throw error;
  }

  async function build(): Promise<Omit<World, 'close'>> {
    const storageFolder = await smallFileSystem(join(folder, 'storage'), 1024);
    const brokenDevice = join(folder, 'device-is-broken');
    const hooks = await deviceHook(folder, brokenDevice);
    const withHook = { ...environment, PATH: `${hooks}${delimiter}${environment['PATH'] ?? ''}` };

    let databaseUrl = '';
    const postgresPort = await findFreePort();
    const postgres = service('postgres', async (given) => {
      const started = await startPostgres({ ...given, port: postgresPort });
      databaseUrl = started.url;
      return started;
    });
    const redisAt = { port: await findFreePort(), password: 'faults' };
    const redis = service('redis', (given) => startRedis({ ...given, ...redisAt }));
    const registryPort = await findFreePort();
    const registry = service('registry', (given) =>
      startRegistry({ ...given, port: registryPort }),
    );
    const engines = [
      await engine('engine-a', environment, ['job-consumer-a']),
      await engine('engine-b', withHook, ['job-consumer-b', 'job-consumer-gpu']),
    ];
    const watches = engines.map(({ name, socketPath }) =>
      watchEngine(name, socketPath, listeners.onContainer),
    );
    ends.push(() => Promise.all(watches.map((watch) => watch.close())));
    for (const one of [postgres, redis, registry, ...engines]) {
      ends.push(one.close);
      await one.start();
    }
    await migrate(databaseUrl);
    const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
    pool.on('error', () => undefined);
    ends.push(() => pool.end());
    const query = async <Row extends object>(sql: string, values: readonly unknown[] = []) => {
      const { rows } = await pool.query<Row>(sql, [...values]);
      return rows;
    };

    let leader: { name: string; pid: number } | undefined;
    const unrenewed: { attempt: string; at: number }[] = [];
    const links = openLinks();
    ends.push(links.close);
    const registryAddress = `127.0.0.1:${await links.open(registryLink, local(registryPort))}`;
    const apps = await openApps({
      ...{ folder, environment, links, databaseUrl, redis: redisAt, engines, storageFolder },
      ...{ smallFileSystem, query, onEnd: listeners.onEnd, signal },
      onLine(name, line) {
        if (line.msg === 'leads from now on' && line['work'] === 'dispatcher') {
          leader = { name, pid: line.pid };
        }
        if (line.msg === 'a lease was not renewed') {
          unrenewed.push({
            attempt: `${String(line['taskUid'])}.${String(line['attempt'])}`,
            at: Date.now(),
          });
        }
        listeners.onLine(name, line);
      },
      atEnd: (end) => ends.push(end),
    });
    const { publicApis, privateApis, consumers } = apps;
    for (const app of [...privateApis, ...publicApis, ...consumers]) await app.start();
    return {
      ...apps,
      ...{ folder, postgres, registry, registryAddress, engines, watches, links: links.all },
      redis: Object.assign(redis, {
        ask: (...commands: readonly string[]) => askRedis(redisAt, ...commands),
      }),
      redisUrl: `redis://:${redisAt.password}@127.0.0.1:${redisAt.port}`,
      publicApiToken: publicApiToken(apps.operatorToken),
      storageFolder,
      brokenDevice,
      query,
      leader: () => leader,
      unrenewedSince: (from: number) => [
        ...new Set(unrenewed.filter(({ at }) => at >= from).map(({ attempt }) => attempt)),
      ],
      async endApps() {
        for (const app of [...consumers, ...publicApis, ...privateApis]) await app.end('SIGTERM');
      },
    };
  }

  /** Its log and its data lie in the world's folder. */
  function service(
    name: string,
    launch: (given: {
      dataDir: string;
      logFile: string;
      environment: NodeJS.ProcessEnv;
      signal: AbortSignal;
    }) => Promise<LocalService>,
  ): Service {
    const logFile = join(folder, `${name}.log`);
    const given = { dataDir: folder, logFile, environment, signal };
    return restartable({ name, logFile, onEnd: listeners.onEnd, launch: () => launch(given) });
  }

  async function engine(
    name: string,
    ofEngine: NodeJS.ProcessEnv,
    serves: readonly string[],
  ): Promise<Engine> {
    return engineOn({
      ...{ name, serves, environment: ofEngine, onEnd: listeners.onEnd, signal },
      folder: await smallFileSystem(join(folder, name), 2048),
      logFile: join(folder, `${name}.log`),
    });
  }

  async function smallFileSystem(path: string, sizeMib: number): Promise<string> {
    await mkdir(path, { recursive: true });
    const options = `size=${sizeMib}m,mode=700`;
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
    ends.push(() => promisify(execFile)('umount', ['--lazy', path]));
    return path;
  }

  async function migrate(databaseUrl: string): Promise<void> {
    const file = fileURLToPath(
      new URL('../../../apps/private-api/dist/migrate.js', import.meta.url),
    );
    await promisify(execFile)(process.execPath, [file], {
      env: { ...environment, DATABASE_URL: databaseUrl },
      signal,
      timeout: 120_000,
    });
  }
}
