import {
  armCrashPoints,
  configOrExit,
  createLogger,
  logFilesOf,
  loadConfig,
  runUntilStopped,
} from '@inference-server/service-kit';
import { Config } from './config.js';
import { startJobConsumer } from './job-consumer.js';

const config = configOrExit('job-consumer', () => loadConfig(Config, process.env));
const logger = createLogger('job-consumer', config.LOG_LEVEL, logFilesOf(config));
armCrashPoints(config.CRASH_AT);

await runUntilStopped((signal) => startJobConsumer(config, logger, signal), {
  logger,
  graceMs: config.STOP_GRACE_S * 1000,
});
