import {
  armCrashPoints,
  configOrExit,
  createLogger,
  logFilesOf,
  loadConfig,
  runUntilStopped,
} from '@inference-server/service-kit';
import { startPrivateApi } from './app.js';
import { Config } from './config.js';

const config = configOrExit('private-api', () => loadConfig(Config, process.env));
const logger = createLogger('private-api', config.LOG_LEVEL, logFilesOf(config));
armCrashPoints(config.CRASH_AT);

await runUntilStopped(() => startPrivateApi(config, logger), {
  logger,
  graceMs: config.STOP_GRACE_S * 1000,
});
