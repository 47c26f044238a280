import { randomBytes } from 'node:crypto';
import { AppError } from '@inference-server/errors';
import {
  askDockerEngine,
  findFreePort,
  startDockerEngine,
  startPostgres,
  startRedis,
} from '@inference-server/local-services';
import type { StandaloneConfig } from './config.js';
import { rotateLog, type DataFolder } from './data-folder.js';
import type { Parts } from './parts.js';

export interface Given {
  config: StandaloneConfig;
  folder: DataFolder;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  print: (text: string) => void;
}

/** Where the apps find what they stand on. */
export interface Services {
  databaseUrl: string;
  redisUrl: string;
  dockerHost: string;
  /** Started here, and stopped with everything else: no container outlives this server. */
  engineIsOwn: boolean;
}

/** What is given by address is used; what is not is started here. */
export async function startServices(parts: Parts, given: Given): Promise<Services> {
  return {
    databaseUrl: await database(parts, given),
    redisUrl: await redis(parts, given),
    ...(await dockerEngine(parts, given)),
  };
}

/** The truth: nothing goes on without it. */
async function database(parts: Parts, { config, folder, environment, signal, print }: Given) {
  if (config.databaseUrl !== undefined) {
    print('PostgreSQL      the one of DATABASE_URL');
    return config.databaseUrl;
  }
  const logFile = folder.logFile('postgres');
  await rotateLog(logFile);
  const { url } = await parts.startVital('PostgreSQL', () =>
    startPostgres({ dataDir: folder.path, logFile, environment, signal }),
  );
  print(`PostgreSQL      started, ${new URL(url).host}`);
  return url;
}

/** Port and password stay over a restart: the apps connect again by themselves. */
async function redis(parts: Parts, { config, folder, environment, signal, print }: Given) {
  if (config.redisUrl !== undefined) {
    print('Redis           the one of REDIS_URL');
    return config.redisUrl;
  }
  const logFile = folder.logFile('redis');
  await rotateLog(logFile);
  const place = { port: await findFreePort(), password: randomBytes(24).toString('hex') };
  const { url } = await parts.startKept('Redis', () =>
    startRedis({ dataDir: folder.path, logFile, environment, signal, ...place }),
  );
  print(`Redis           started, ${new URL(url).host}`);
  return url;
}

async function dockerEngine(parts: Parts, { config, folder, environment, signal, print }: Given) {
  const usual = config.dockerHost ?? 'unix:///var/run/docker.sock';
  if (await askDockerEngine(usual)) {
    print(`Docker engine   the one at ${usual}`);
    return { dockerHost: usual, engineIsOwn: false };
  }
  if (config.dockerHost !== undefined || process.getuid?.() !== 0) {
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      config.dockerHost === undefined
        ? `No docker engine answers at ${usual}, and only root can start one: start the engine, or set DOCKER_HOST.`
        : `No docker engine answers at ${usual}, which DOCKER_HOST names.`,
    );
  }
  const logFile = folder.logFile('docker-engine');
  await rotateLog(logFile);
  const { url } = await parts.startKept('Docker engine', () =>
    startDockerEngine({ dataDir: folder.path, logFile, environment, signal }),
  );
  print(`Docker engine   started, ${url}`);
  return { dockerHost: url, engineIsOwn: true };
}
