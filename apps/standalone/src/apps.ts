import { join } from 'node:path';
import { startProcess, untilServing } from '@inference-server/local-services';
import { createClient, type Readiness } from '@inference-server/sdk';
import { addressesOf } from './addresses.js';
import { appFile } from './app-files.js';
import { rotateLog } from './data-folder.js';
import type { Parts } from './parts.js';
import type { Given, Services } from './services.js';

/** How long an app may end its work in hand; what is left of it after that is cut. */
const graceS = 20;

/** Starts private-api, public-api and the consumers of this machine, each when the one before serves. */
export async function startApps(parts: Parts, services: Services, given: Given): Promise<void> {
  const { config, folder, environment, signal, print } = given;
  const addresses = addressesOf(config);
  const common = {
    HOST: config.host,
    PRIVATE_API_URL: addresses.privateApi,
    PRIVATE_API_TOKEN: folder.token,
    REDIS_URL: services.redisUrl,
    QUEUE_PREFIX: `inference-server-${folder.hash}`,
    LOG_LEVEL: config.logLevel,
    STOP_GRACE_S: String(graceS),
  };

  await start('private-api', {
    app: 'private-api',
    settings: {
      PORT: String(config.privateApiPort),
      DATABASE_URL: services.databaseUrl,
      STORAGE_URL: config.storageUrl ?? join(folder.path, 'storage'),
    },
    serves: () => says(addresses.privateApi, ['ready', 'degraded']),
  });
  print(`private-api     ${addresses.privateApi}`);

  await start('public-api', {
    app: 'public-api',
    settings: {
      PORT: String(config.publicApiPort),
      ANONYMOUS_ROLE: 'publish',
      ...(config.allowPublicPostModel === undefined
        ? {}
        : { ALLOW_PUBLIC_POST_MODEL: config.allowPublicPostModel }),
    },
    serves: () => says(addresses.publicApi, ['ready', 'degraded']),
  });
  print(`public-api      ${addresses.publicApi}`);

  // The ids stay, so that the next start finds what this one may leave in the engine.
  await startConsumer('job-consumer', 'local-cpu', 'none');
  if (config.gpus !== 'none' && config.gpus !== '') {
    await startConsumer('job-consumer-gpu', 'local-gpu', config.gpus);
  }

  async function startConsumer(name: string, consumerId: string, gpus: string): Promise<void> {
    let registered = false;
    await start(name, {
      app: 'job-consumer',
      settings: {
        CONSUMER_ID: consumerId,
        DOCKER_HOST: services.dockerHost,
        // What runs in an engine that is about to stop would only wait for its end.
        HAND_OVER: String(!services.engineIsOwn),
        WORK_DIR: join(folder.path, 'work', consumerId),
        GPUS: gpus,
        ...(config.cpuSlots === undefined ? {} : { CPU_SLOTS: String(config.cpuSlots) }),
      },
      // Started again later, it waits by itself for whatever is away then.
      // A given Redis may keep the server degraded (its eviction policy) and this consumer none the less up.
      serves: async () => registered || (registered = await hasConsumer(addresses.publicApi)),
    });
    print(`${name.padEnd(15)} ${consumerId}`);
  }

  async function start(name: string, { app, settings, serves }: App): Promise<void> {
    const logFile = folder.logFile(name);
    await rotateLog(logFile);
    await parts.startKept(name, async () => {
      const child = await startProcess({
        name,
        command: process.execPath,
        args: [appFile(app)],
        // The settings of ours stand in place of whatever the terminal has (PORT, HOST, …).
        environment: { ...environment, ...common, ...settings },
        dataDir: folder.path,
        logFile,
        ipc: true,
        stopGraceMs: (graceS + 10) * 1000,
      });
      await untilServing(child, serves, { timeoutMs: 60_000, signal });
      return child;
    });
  }
}

interface App {
  app: string;
  settings: Record<string, string>;
  serves: () => Promise<boolean>;
}

async function says(baseUrl: string, states: readonly Readiness['status'][]): Promise<boolean> {
  const answer = await readinessOf(baseUrl);
  return answer !== undefined && states.includes(answer.status);
}

async function hasConsumer(baseUrl: string): Promise<boolean> {
  return (await readinessOf(baseUrl))?.checks['consumers'] === 'up';
}

async function readinessOf(baseUrl: string): Promise<Readiness | undefined> {
  const signal = AbortSignal.timeout(5_000);
  return createClient({ baseUrl })
    .getReadiness({ signal })
    .catch(() => undefined);
}
