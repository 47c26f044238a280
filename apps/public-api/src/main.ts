import { closeHttpServer, createLogger, runUntilStopped } from '@inference-server/service-kit';
import { createPublicApi } from './app.js';
import { readConfig, type PublicApiConfig } from './config.js';

const config = configOrExit();
const logger = createLogger('public-api', config.logLevel);

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

function configOrExit(): PublicApiConfig {
  try {
    return readConfig(process.env);
  } catch (error) {
    process.stderr.write(`public-api cannot start:\n${(error as Error).message}\n`);
    process.exit(1);
  }
}
