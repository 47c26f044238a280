import { join } from 'node:path';
import { createClient, type ModelRegistration } from '@inference-server/sdk';
import {
  consumerToken,
  newOperatorToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
} from '@inference-server/service-kit';
import {
  createTestDatabase,
  freePort,
  startApp,
  testEngine,
  testFolder,
  testRedis,
  type EngineApi,
  type OwnDatabase,
  type OwnEngine,
  type TestApp,
} from '@inference-server/testing';

/** Its command is whatever the task brings: `sh /input/run.sh`. */
const scriptImage = 'inference-server-test/script:1';

/** What a test brings of its own, to stop it, in place of what the run shares. */
interface OwnParts {
  database?: OwnDatabase;
  redisUrl?: string;
  engine?: OwnEngine;
}

/** The whole server as it is deployed: its apps as processes, on the run's real services. */
export async function runServer(consumerSettings: Record<string, string> = {}, own: OwnParts = {}) {
  const database = own.database ?? (await createTestDatabase());
  const redis = await testRedis();
  const redisUrl = own.redisUrl ?? redis.url;
  const engine = own.engine ?? (await testEngine());
  const folder = await testFolder();
  const token = newOperatorToken();
  const privatePort = await freePort();
  const publicPort = await freePort();
  const [grpcPort, relayPort] = [await freePort(), await freePort()];
  const privateApiUrl = `http://127.0.0.1:${privatePort}`;
  const publicApiUrl = `http://127.0.0.1:${publicPort}`;
  const relayUrl = `http://127.0.0.1:${relayPort}`;
  await makeScriptImage(engine.api, engine.image);

  const startPrivateApi = (settings: Record<string, string> = {}) =>
    startApp({
      app: 'private-api',
      settings: {
        PRIVATE_API_TOKEN: token,
        LOG_LEVEL: 'debug',
        PORT: String(privatePort),
        DATABASE_URL: database.url,
        REDIS_URL: redisUrl,
        QUEUE_PREFIX: redis.prefix,
        STORAGE_URL: join(folder, 'storage'),
        LEASE_S: '3',
        HEARTBEAT_S: '1',
        ...settings,
      },
      ready: `${privateApiUrl}/readyz`,
    });
  const startPublicApi = (settings: Record<string, string> = {}) =>
    startApp({
      app: 'public-api',
      settings: {
        PUBLIC_API_TOKEN: publicApiToken(token),
        LOG_LEVEL: 'debug',
        PORT: String(publicPort),
        PRIVATE_API_URL: privateApiUrl,
        RPC_GATEWAY_URL: relayUrl,
        RELAY_TOKEN: relayToken(token),
        ANONYMOUS_ROLE: 'publish',
        ALLOW_PUBLIC_POST_MODEL: '1',
        ...settings,
      },
      ready: `${publicApiUrl}/readyz`,
    });
  const startGateway = (settings: Record<string, string> = {}) =>
    startApp({
      app: 'rpc-gateway',
      settings: {
        RPC_GATEWAY_TOKEN: rpcGatewayToken(token),
        RELAY_TOKEN: relayToken(token),
        LOG_LEVEL: 'debug',
        GRPC_PORT: String(grpcPort),
        HTTP_PORT: String(relayPort),
        PRIVATE_API_URL: privateApiUrl,
        ANONYMOUS_ROLE: 'submit',
        ...settings,
      },
      ready: `${relayUrl}/readyz`,
    });
  const usualSettings = {
    LOG_LEVEL: 'debug',
    PRIVATE_API_URL: privateApiUrl,
    REDIS_URL: redisUrl,
    QUEUE_PREFIX: redis.prefix,
    DOCKER_HOST: engine.dockerHost,
    CPU_SLOTS: '2',
    CONTAINER_MEMORY_MIB: '64',
    IMAGE_RETRY_S: '1',
    WORK_DIR: join(folder, 'work'),
    ...consumerSettings,
  };
  const startConsumer = (id = 'cpu', settings: Record<string, string> = {}): Promise<TestApp> =>
    startApp({
      app: 'job-consumer',
      settings: { ...usualSettings, CONSUMER_TOKEN: consumerToken(token, id), ...settings },
      ready: async () => {
        const rows = await database.query<{ id: string }>(
          `SELECT id FROM consumers WHERE id = $1 AND state = 'ready'
              AND heartbeat_at > now() - interval '2 seconds'`,
          [id],
        );
        return rows.length > 0;
      },
    });

  const client = createClient({ baseUrl: publicApiUrl });
  return {
    database,
    redis,
    engine,
    folder,
    token,
    privateApiUrl,
    publicApiUrl,
    grpcAddress: `127.0.0.1:${grpcPort}`,
    client,
    startPrivateApi,
    startPublicApi,
    startGateway,
    startConsumer,
    consumerSettings: usualSettings,

    async postModel(id: string, more: Partial<ModelRegistration> = {}): Promise<void> {
      await client.postModel({ human_readable_id: id, container_tag: scriptImage, ...more });
    },

    /** What this server has in the engine now. */
    async inEngine() {
      const rows = await database.query<{ id: string }>('SELECT id FROM installations');
      const ids = rows.map(({ id }) => id);
      return (await engine.api.listObjects()).filter(({ labels }) =>
        Object.values(labels).some((value) => ids.includes(value)),
      );
    },
  };
}

export type RunningServer = Awaited<ReturnType<typeof runServer>>;

export async function makeScriptImage(
  engine: EngineApi,
  base: string,
  tag = scriptImage,
): Promise<void> {
  const [repo = '', version = ''] = tag.split(':');
  const { Id: container } = (await engine.call('POST', '/containers/create', {
    Image: base,
  })) as { Id: string };
  try {
    const query = new URLSearchParams({
      container,
      repo,
      tag: version,
      changes: 'CMD ["sh", "/input/run.sh"]',
    });
    await engine.call('POST', `/commit?${query.toString()}`);
  } finally {
    await engine.call('DELETE', `/containers/${container}?force=1`);
  }
}
