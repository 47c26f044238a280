import { randomBytes } from 'node:crypto';
import Type from 'typebox';
import { openBlobStore } from '@inference-server/blob-store';
import {
  configOrExit,
  createLogger,
  loadConfig,
  runSweepCommand,
} from '@inference-server/service-kit';
import { Config } from './config.js';
import { openDatabase } from './database/database.js';
import { createInstallation } from './database/installation.js';
import { createSweeps } from './retention/sweeps.js';

/**
 * `node dist/sweep.js`: sweeps once, beside whichever process does so all the time. With `--dry-run`
 * it only says what would go. Needs DATABASE_URL, STORAGE_URL and the times of private-api.
 */
const Settings = Type.Pick(Config, [
  'DATABASE_URL',
  'STORAGE_URL',
  'QUEUE_TTL_S',
  'INPUT_RETENTION_S',
  'OUTPUT_RETENTION_S',
  'FETCHED_RETENTION_S',
  'LOG_RETENTION_S',
  'AUDIT_RETENTION_S',
  'SWEEP_INTERVAL_S',
  'STORAGE_SWEEP_INTERVAL_S',
  'ABANDONED_AFTER_S',
  'ORPHANED_AFTER_S',
  'LOG_LEVEL',
]);
const settings = configOrExit('sweep', () => loadConfig(Settings, process.env));
const logger = createLogger('sweep', settings.LOG_LEVEL);

await runSweepCommand(process.argv.slice(2), async () => {
  const database = openDatabase(settings.DATABASE_URL, logger);
  try {
    const sweeps = createSweeps({
      database,
      store: await openBlobStore(settings.STORAGE_URL),
      installation: createInstallation(database, () => randomBytes(16).toString('hex')),
      settings,
      logger,
      leader: undefined,
    });
    return { sweeps, close: () => database.close() };
  } catch (error) {
    await database.close();
    throw error;
  }
});
