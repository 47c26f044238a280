import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { findFreePort, startProcess, untilServing } from '@inference-server/local-services';
import { createClient, type Readiness } from '@inference-server/sdk';
import {
  consumerToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
} from '@inference-server/service-kit';
import { addressesOf, privateHost } from './addresses.js';
import { appFile } from './app-files.js';
import type { StandaloneConfig } from './config.js';
import { rotateLog } from './data-folder.js';
import type { Parts } from './parts.js';
import type { Given, Services } from './services.js';

/** How long an app may end its work in hand; what is left of it after that is cut. */
const graceS = 20;

/** Starts private-api, rpc-gateway, public-api and the consumers of this machine, each when the one before serves. */
export async function startApps(parts: Parts, services: Services, given: Given): Promise<void> {
  const { config, folder, environment, signal, print } = given;
  const addresses = addressesOf(config);
  const common = {
    PRIVATE_API_URL: addresses.privateApi,
    REDIS_URL: services.redisUrl,
    QUEUE_PREFIX: `inference-server-${folder.hash}`,
    LOG_LEVEL: config.logLevel,
    STOP_GRACE_S: String(graceS),
    ...(config.logFiles !== undefined && {
      LOG_DIR: config.logFiles.folder,
      LOG_FILE_MAX_BYTES: String(config.logFiles.maxBytes),
      LOG_FILES: String(config.logFiles.count),
    }),
  };

  await start('private-api', {
    app: 'private-api',
    settings: {
      HOST: privateHost,
      PORT: String(config.privateApiPort),
      PRIVATE_API_TOKEN: folder.token,
      DATABASE_URL: services.databaseUrl,
      STORAGE_URL: config.storageUrl ?? join(folder.path, 'storage'),
      DATA_DIR: folder.path,
      ...bootstrapOf(config),
    },
    serves: () => says(addresses.privateApi, ['ready', 'degraded']),
  });
  print(`private-api     ${addresses.privateApi}`);

  // Kept over a restart of the gateway: public-api finds it again.
  const relayPort = await findFreePort();
  const relay = `http://${privateHost}:${relayPort}`;
  await start('rpc-gateway', {
    app: 'rpc-gateway',
    settings: {
      GRPC_HOST: config.host,
      GRPC_PORT: String(config.grpcPort),
      ZERORPC_HOST: config.zerorpc.host,
      ZERORPC_PORT: String(config.zerorpc.port),
      HTTP_HOST: privateHost,
      HTTP_PORT: String(relayPort),
      RPC_GATEWAY_TOKEN: rpcGatewayToken(folder.token),
      RELAY_TOKEN: relayToken(folder.token),
      ANONYMOUS_ROLE: config.anonymousRole,
    },
    serves: () => answers(`${relay}/readyz`),
  });
  print(`rpc-gateway     ${addresses.grpc}`);

  await start('public-api', {
    app: 'public-api',
    settings: {
      HOST: config.host,
      PORT: String(config.publicApiPort),
      PUBLIC_API_TOKEN: publicApiToken(folder.token),
      RPC_GATEWAY_URL: relay,
      RELAY_TOKEN: relayToken(folder.token),
      ANONYMOUS_ROLE: config.anonymousRole,
      ...(config.allowPublicPostModel === undefined
        ? {}
        : { ALLOW_PUBLIC_POST_MODEL: config.allowPublicPostModel }),
    },
    serves: () => says(addresses.publicApi, ['ready', 'degraded']),
  });
  print(`public-api      ${addresses.publicApi}`);

  let registered = false;
  const { gpus, cpuSlots = areNamed(gpus) ? slotsBeside(gpus) : undefined } = config;
  await start('job-consumer', {
    app: 'job-consumer',
    settings: {
      // The ids stay, so that the next start finds what this one may leave in the engine.
      CONSUMER_TOKEN: consumerToken(folder.token, gpus === 'none' ? 'local-cpu' : 'local'),
      DOCKER_HOST: services.dockerHost,
      // What runs in an engine that is about to stop would only wait for its end.
      HAND_OVER: String(!services.engineIsOwn),
      WORK_DIR: join(folder.path, 'work', 'local'),
      GPUS: gpus,
      ...(cpuSlots === undefined ? {} : { CPU_SLOTS: String(cpuSlots) }),
    },
    // Started again later, it waits by itself for whatever is away then.
    // A given Redis may keep the server degraded (its eviction policy) and this consumer none the less up.
    serves: async () => registered || (registered = await hasConsumer(addresses.publicApi)),
  });
  for (const id of await consumerIds(addresses.privateApi, folder.token)) {
    print(`job-consumer    ${id}`);
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
        environment: withSettings(environment, { ...common, ...settings }),
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

/** A setting of ours also stands in place of one that the terminal has in a file. */
function withSettings(
  environment: NodeJS.ProcessEnv,
  settings: Record<string, string>,
): NodeJS.ProcessEnv {
  const files = new Set(Object.keys(settings).map((name) => `${name}_FILE`));
  const others = Object.entries(environment).filter(([name]) => !files.has(name));
  return { ...Object.fromEntries(others), ...settings };
}

function bootstrapOf({ bootstrap }: StandaloneConfig): Record<string, string> {
  if (bootstrap === undefined) return {};
  const { user: BOOTSTRAP_USER, password } = bootstrap;
  return { BOOTSTRAP_USER, ...(password !== undefined && { BOOTSTRAP_PASSWORD: password }) };
}

/** As many as `auto` would leave for work without a GPU. */
function slotsBeside(gpus: string): number {
  return Math.max(1, Math.floor(availableParallelism() / (1 + gpus.split(',').length)));
}

/** Then the process would have no CPU slots of itself. */
function areNamed(gpus: string): boolean {
  return gpus !== 'auto' && gpus !== 'none';
}

/** Those of this machine that are there, as far as that can be told now. */
async function consumerIds(privateApi: string, token: string): Promise<string[]> {
  const response = await fetch(`${privateApi}/api/consumers/`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(5_000),
  }).catch(() => undefined);
  if (response?.ok !== true) return [];
  const consumers = (await response.json()) as { id: string; state: string }[];
  return consumers
    .filter(({ id, state }) => id.startsWith('local-') && !['gone', 'silent'].includes(state))
    .map(({ id }) => id);
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.ok === true;
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
