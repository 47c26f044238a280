import { randomBytes } from 'node:crypto';
import Type from 'typebox';
import { openBlobStore } from '@inference-server/blob-store';
import {
  configOrExit,
  createLogger,
  logFilesOf,
  loadConfig,
  runSweepCommand,
} from '@inference-server/service-kit';
import { Config } from './config.js';
import { openDatabase } from './database/database.js';
import { createInstallation } from './database/installation.js';
import { openInvocationStore } from './modules/invocations/stores/open-invocation-store.js';
import { createSweeps } from './retention/sweeps.js';

/**
 * `node dist/sweep.js`: sweeps once, beside whichever process does so all the time. With `--dry-run`
 * it only says what would go. Needs DATABASE_URL, STORAGE_URL and the times of private-api.
 */
const Settings = Type.Object({
  ...Type.Pick(Config, [
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
    'LOG_DIR',
    'LOG_FILE_MAX_BYTES',
    'LOG_FILES',
    'INVOCATION_STORE',
    'QUEUE_PREFIX',
  ]).properties,
  /** Of the store `redis` alone. */
  REDIS_URL: Type.Optional(Config.properties.REDIS_URL),
});
const settings = configOrExit('sweep', () => loadConfig(Settings, process.env));
const logger = createLogger('sweep', settings.LOG_LEVEL, logFilesOf(settings));

await runSweepCommand(process.argv.slice(2), async () => {
  const database = openDatabase(settings.DATABASE_URL, logger);
  const isElsewhere = settings.INVOCATION_STORE === 'memory';
  const invocations = isElsewhere ? undefined : openInvocationStore(settings, { database, logger });
  const close = async () => {
    invocations?.close();
    await database.close();
  };
  try {
    const sweeps = createSweeps({
      database,
      store: await openBlobStore(settings.STORAGE_URL),
      invocations,
      installation: createInstallation(database, () => randomBytes(16).toString('hex')),
      settings,
      logger,
      leader: undefined,
    });
    return { sweeps, close };
  } catch (error) {
    await close();
    throw error;
  }
});
