import type { ByteBudget } from '@inference-server/grpc';
import {
  isLoopbackAddress,
  networkOf,
  type CallerDirectory,
  type Logger,
  type RefusalTally,
} from '@inference-server/service-kit';
import { createZeroRpcServer, defaultLimits } from '@inference-server/zerorpc';
import type { RpcGatewayConfig } from '../../config.js';
import { createCrowdLog } from '../../crowd-log.js';
import type { Predictor } from '../../core/predictor.js';
import { createCallers } from '../callers.js';
import { createZeroRpcAccess } from './access.js';
import { modelMethods } from './methods.js';

/** What of the gateway's settings is for this door. */
type Settings = Pick<
  RpcGatewayConfig,
  | 'anonymousRole'
  | 'trustedProxies'
  | 'refusalsPerAddress'
  | 'maxMessageBytes'
  | 'maxQueuedBytes'
  | 'maxCallMs'
>;

export interface ZeroRpcDoor {
  /** Returns the port. */
  listen(): Promise<number>;
  /** Takes no more calls; those that are under way have `graceMs`, and end with an error then. */
  close(graceMs: number): Promise<void>;
}

/** The door for ZeroRPC, with callers of its own: another address is exposed, or not, and there they have none. */
export function createZeroRpcDoor(
  { host, port, isExposed }: NonNullable<RpcGatewayConfig['zerorpc']>,
  {
    predictor,
    directory,
    refusals,
    budget,
    logger,
    ...settings
  }: Settings & {
    predictor: Predictor;
    directory: CallerDirectory;
    refusals: RefusalTally;
    budget: ByteBudget;
    logger: Logger;
  },
): ZeroRpcDoor {
  const { anonymousRole, maxMessageBytes, maxQueuedBytes, maxCallMs } = settings;
  const callers = createCallers({ ...settings, isExposed, directory, refusals });
  const access = createZeroRpcAccess({ callers, anonymousRole, isExposed });
  const server = createZeroRpcServer({
    serviceName: 'ModelZeroRPCService',
    methods: modelMethods({ access, callers, predictor, maxQueuedBytes }),
    maxCallMs,
    limits: {
      maxFrameBytes: Math.min(maxMessageBytes, defaultLimits.maxFrameBytes),
      maxPartBytes: Math.floor(maxQueuedBytes / 2),
    },
    budget,
    groupOf: (address) => (isLoopbackAddress(address) ? undefined : networkOf(address)),
    onCrowd: createCrowdLog(logger),
    onFault: (error) => logger.error({ err: error }, 'the call failed'),
    onDropped: (reason) => logger.debug({ reason }, 'a message was dropped'),
  });
  return {
    listen: () => server.listen({ host, port }),
    async close(graceMs) {
      await server.close(graceMs);
      callers.close();
    },
  };
}
