import {
  closeHttpServer,
  configOrExit,
  createLogger,
  runUntilStopped,
} from '@inference-server/service-kit';
import { createPublicApi } from './app.js';
import { readConfig } from './config.js';

const config = configOrExit('public-api', () => readConfig(process.env));
const logger = createLogger('public-api', config.logLevel, config.logFiles);

await runUntilStopped(
  async () => {
    const app = await createPublicApi(config, logger);
    const address = await app.listen({ host: config.host, port: config.port });
    logger.info({ address, anonymousRole: config.anonymousRole }, 'listening');
    return { close: () => closeHttpServer(app, config.stopGraceMs) };
  },
  // What is still in flight is cut at the end of the grace time; this is the time to say so.
  { logger, graceMs: config.stopGraceMs + 2_000 },
);
