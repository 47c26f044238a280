import { configOrExit, createLogger, runUntilStopped } from '@inference-server/service-kit';
import { readConfig } from './config.js';
import { startRpcGateway } from './rpc-gateway.js';

const config = configOrExit('rpc-gateway', () => readConfig(process.env));
const logger = createLogger('rpc-gateway', config.logLevel, config.logFiles);

await runUntilStopped(
  async () => {
    const gateway = await startRpcGateway(config, logger);
    logger.info(
      {
        grpcPort: gateway.grpcPort,
        httpPort: gateway.httpPort,
        zerorpcPort: gateway.zerorpcPort,
        anonymousRole: config.anonymousRole,
      },
      'listening',
    );
    return { close: () => gateway.close() };
  },
  // What is still in flight is cut at the end of the grace time; this is the time to say so.
  { logger, graceMs: config.stopGraceMs + 2_000 },
);
