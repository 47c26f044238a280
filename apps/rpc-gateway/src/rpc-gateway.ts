import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createByteBudget, createGrpcServer } from '@inference-server/grpc';
import {
  closeHttpServer,
  createCallerDirectory,
  createHttpServer,
  createRefusalTally,
  keepUploadPace,
  networkOf,
  trustOf,
  type Logger,
} from '@inference-server/service-kit';
import type { RpcGatewayConfig } from './config.js';
import { createPredictor } from './core/predictor.js';
import { createCrowdLog } from './crowd-log.js';
import { createCallers } from './doors/callers.js';
import { healthMethods } from './doors/grpc/health.js';
import { invocationMethod } from './doors/grpc/invocation.js';
import { oipMethods } from './doors/grpc/oip.js';
import { predictMethod } from './doors/grpc/predict.js';
import { authMethod } from './doors/grpc/redhare-auth.js';
import { streamInferMethod } from './doors/grpc/redhare-stream.js';
import { reflectionMethods } from './doors/grpc/reflection.js';
import { answerHealth } from './doors/http/health.js';
import { mountOip } from './doors/http/oip.js';
import { mountPredict } from './doors/http/predict.js';
import { createZeroRpcDoor } from './doors/zerorpc/door.js';
import { returnIdleMemory } from './idle-memory.js';
import { createInvocationClient } from './invocation-client.js';
import { createPrivateApiClient } from './private-api-client.js';
import { createServingState } from './serving-state.js';
import { startSyncLoop } from './sync-loop.js';
import { createTaskClient } from './task-client.js';
import { createTokenIssuer } from './token-issuer.js';

export interface RpcGateway {
  grpcPort: number;
  httpPort: number;
  /** Undefined: there is no such door. */
  zerorpcPort: number | undefined;
  /** Takes no more calls, and lets those that are under way end within the grace time. */
  close(): Promise<void>;
}

/** Everything of rpc-gateway, put together from its settings: listening when it resolves. */
export async function startRpcGateway(
  config: Omit<RpcGatewayConfig, 'logLevel' | 'logFiles'>,
  logger: Logger,
): Promise<RpcGateway> {
  const { privateApiUrl, privateApiToken, stopGraceMs } = config;
  const api = createPrivateApiClient({
    url: privateApiUrl,
    token: privateApiToken,
    gatewayId: randomUUID(),
  });
  const budget = returnIdleMemory(createByteBudget(config.maxQueuedBytes));
  const predictor = createPredictor({
    maxQueuePerModel: config.maxQueuePerModel,
    maxAnswerBytes: config.maxMessageBytes,
    maxJsonBytes: config.maxJsonBytes,
    budget,
    startTimeoutMs: config.startTimeoutMs,
    onNews: () => sync.hurry(),
    refresh: () => sync.refresh(),
    tasks: createTaskClient({ url: privateApiUrl, token: privateApiToken, agent: api.agent }),
    newKey: randomUUID,
  });
  const state = createServingState();
  const sync = startSyncLoop({
    ...{ api, logger },
    report: () => predictor.report(),
    apply: (news) => {
      predictor.apply(news);
      state.open();
    },
  });

  const privateApi = { privateApiUrl, privateApiToken, upstream: api.agent };
  const directory = createCallerDirectory(privateApi);
  const refusals = createRefusalTally({ tell: (those) => directory.noteRefusals(those), logger });
  const callers = createCallers({ ...config, directory, refusals });
  const isProxy = trustOf(config.trustedProxies);
  const onFault = (error: unknown, path: string) =>
    logger.error({ err: error, path }, 'the call failed');
  const grpc = createGrpcServer({
    methods: new Map([
      predictMethod({ predictor, callers, maxCallMs: config.maxCallMs }),
      invocationMethod({
        ...{ predictor, callers, onFault },
        store: createInvocationClient({
          ...{ url: privateApiUrl, token: privateApiToken, agent: api.agent },
        }),
        defaultModel: config.defaultInvocationModel,
        ...{ maxCallMs: config.maxCallMs, maxJsonBytes: config.maxJsonBytes },
      }),
      authMethod({
        ...{ callers, predictor },
        tokens: createTokenIssuer(privateApi),
        publicAddress: config.grpcPublicAddress,
      }),
      streamInferMethod({
        ...{ predictor, callers, state, budget, window: config.streamWindow },
        // The other half is for calls of their own.
        maxAtModel: Math.ceil(config.maxQueuePerModel / 2),
        ...{ maxCallMs: config.maxCallMs, maxJsonBytes: config.maxJsonBytes },
      }),
      ...oipMethods({ predictor, callers, state, maxCallMs: config.maxCallMs }),
      ...healthMethods(state),
      ...reflectionMethods(),
    ]),
    maxMessageBytes: config.maxMessageBytes,
    budget,
    pace: config.uploadPace,
    groupOf: (address) => (isProxy(address) ? undefined : networkOf(address)),
    onCrowd: createCrowdLog(logger),
    onFault,
  });

  const zerorpc =
    config.zerorpc &&
    createZeroRpcDoor(config.zerorpc, {
      ...config,
      ...{ predictor, directory, refusals, budget, logger },
    });

  const http = createHttpServer({ logger });
  keepUploadPace(http, config.uploadPace);
  answerHealth(http, state, () => sync.hasFreshNews());
  mountPredict(http, { ...config, predictor, budget });
  await http.register(async (scope) => mountOip(scope, { ...config, predictor, budget }));

  async function close(): Promise<void> {
    state.close();
    await Promise.all([
      grpc.close(stopGraceMs),
      zerorpc?.close(stopGraceMs),
      closeHttpServer(http, stopGraceMs),
    ]);
    await predictor.close();
    await sync.close();
    callers.close();
    await refusals.close().catch(() => undefined);
    await api.close();
    budget.close();
  }

  try {
    const grpcPort = await grpc.listen(config.grpc);
    const zerorpcPort = await zerorpc?.listen();
    await http.listen(config.http);
    const httpPort = (http.server.address() as AddressInfo).port;
    return { grpcPort, httpPort, zerorpcPort, close };
  } catch (error) {
    await close();
    throw error;
  }
}
