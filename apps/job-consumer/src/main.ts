import {
  ConfigError,
  createLogger,
  loadConfig,
  runUntilStopped,
} from '@inference-server/service-kit';
import { Config } from './config.js';
import { startJobConsumer } from './job-consumer.js';

try {
  const config = loadConfig(Config, process.env);
  const logger = createLogger('job-consumer', config.LOG_LEVEL);
  await runUntilStopped((signal) => startJobConsumer(config, logger, signal), {
    logger,
    graceMs: config.STOP_GRACE_S * 1000,
  });
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`job-consumer cannot start:\n${error.message}\n`);
  process.exit(2);
}
