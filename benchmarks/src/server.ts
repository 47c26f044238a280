import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findFreePort, startPostgres, startRedis } from '@inference-server/local-services';
import { createClient, type Client, type Readiness } from '@inference-server/sdk';
import {
  consumerToken,
  newOperatorToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
} from '@inference-server/service-kit';
import type { Scene } from './scene.js';

/** Our server, as `npm start` runs it, on ports of its own. */
export interface Server {
  publicApiUrl: string;
  privateApiUrl: string;
  /** host:port; nobody listens there without a gateway. */
  grpcAddress: string;
  /** tcp://host:port, likewise. */
  zerorpcAddress: string;
  operatorToken: string;
  databaseUrl: string;
  /** Those of ours: the APIs and, where there are such, gateway and consumer. */
  processes: readonly { name: string; pid: number }[];
  operator: Client;
  caller: Client;
}

/** Starts it with durable storage; without `consumer` nothing is ever run. */
export async function startServer(
  scene: Scene,
  consumer?: { id: string; settings: Record<string, string> },
  { gateway = false } = {},
): Promise<Server> {
  const { folder, environment, signal } = scene;
  const service = { dataDir: folder, environment, signal };
  const postgres = await startPostgres({ ...service, logFile: join(folder, 'postgres.log') });
  scene.onEnd(postgres.stop);
  const redis = await startRedis({ ...service, logFile: join(folder, 'redis.log') });
  scene.onEnd(redis.stop);
  await migrate(postgres.url, scene);

  const [privateApiPort, publicApiPort] = [await findFreePort(), await findFreePort()];
  const privateApiUrl = `http://127.0.0.1:${privateApiPort}`;
  const publicApiUrl = `http://127.0.0.1:${publicApiPort}`;
  const operatorToken = newOperatorToken();
  const operator = createClient({ baseUrl: privateApiUrl, token: operatorToken });
  const caller = createClient({ baseUrl: publicApiUrl });

  const common = {
    PRIVATE_API_URL: privateApiUrl,
    REDIS_URL: redis.url,
  };
  const start = async (
    app: string,
    settings: Record<string, string>,
    ready: () => Promise<boolean>,
  ) => {
    const child = await scene.start(
      {
        name: app,
        args: [...scene.nodeArgs, appFile(app, 'main.js')],
        settings: { ...common, ...settings },
      },
      ready,
    );
    return { name: app, pid: child.pid };
  };
  const privateApi = await start(
    'private-api',
    {
      PORT: String(privateApiPort),
      PRIVATE_API_TOKEN: operatorToken,
      DATABASE_URL: postgres.url,
      STORAGE_URL: join(folder, 'storage'),
    },
    () => says(operator, ['ready', 'degraded']),
  );
  const [grpcPort, httpPort] = [await findFreePort(), await findFreePort()];
  const zerorpcPort = await findFreePort();
  const relay = {
    RPC_GATEWAY_URL: `http://127.0.0.1:${httpPort}`,
    RELAY_TOKEN: relayToken(operatorToken),
  };
  const publicApi = await start(
    'public-api',
    {
      PORT: String(publicApiPort),
      PUBLIC_API_TOKEN: publicApiToken(operatorToken),
      ANONYMOUS_ROLE: 'publish',
      ...(gateway && relay),
    },
    () => says(caller, ['ready', 'degraded']),
  );
  const processes = [publicApi, privateApi];
  if (gateway) {
    const settings = {
      GRPC_PORT: String(grpcPort),
      HTTP_PORT: String(httpPort),
      ZERORPC_PORT: String(zerorpcPort),
      RPC_GATEWAY_TOKEN: rpcGatewayToken(operatorToken),
      RELAY_TOKEN: relay.RELAY_TOKEN,
      ANONYMOUS_ROLE: 'submit',
    };
    const isReady = () => answers(`${relay.RPC_GATEWAY_URL}/readyz`);
    processes.push(await start('rpc-gateway', settings, isReady));
  }
  if (consumer !== undefined) {
    const settings = {
      CONSUMER_TOKEN: consumerToken(operatorToken, consumer.id),
      WORK_DIR: join(folder, 'work'),
      ...consumer.settings,
    };
    processes.push(await start('job-consumer', settings, () => says(caller, ['ready'])));
  }
  return {
    publicApiUrl,
    privateApiUrl,
    grpcAddress: `127.0.0.1:${grpcPort}`,
    zerorpcAddress: `tcp://127.0.0.1:${zerorpcPort}`,
    operatorToken,
    databaseUrl: postgres.url,
    processes,
    operator,
    caller,
  };
}

async function migrate(databaseUrl: string, { environment, signal }: Scene): Promise<void> {
  await promisify(execFile)(process.execPath, [appFile('private-api', 'migrate.js')], {
    env: { ...environment, DATABASE_URL: databaseUrl },
    signal,
    timeout: 120_000,
  });
}

function appFile(app: string, file: string): string {
  return fileURLToPath(new URL(`../../apps/${app}/dist/${file}`, import.meta.url));
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
  await answer?.arrayBuffer();
  return answer?.status === 200;
}

async function says(client: Client, states: readonly Readiness['status'][]): Promise<boolean> {
  const answer = await client
    .getReadiness({ signal: AbortSignal.timeout(5_000) })
    .catch(() => undefined);
  return answer !== undefined && states.includes(answer.status);
}
