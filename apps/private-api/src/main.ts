import {
  ConfigError,
  createLogger,
  loadConfig,
  runUntilStopped,
} from '@inference-server/service-kit';
import { startPrivateApi } from './app.js';
import { Config } from './config.js';

try {
  const config = loadConfig(Config, process.env);
  const logger = createLogger('private-api', config.LOG_LEVEL);
  await runUntilStopped(() => startPrivateApi(config, logger), {
    logger,
    graceMs: config.STOP_GRACE_S * 1000,
  });
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`private-api cannot start:\n${error.message}\n`);
  process.exit(2);
}
