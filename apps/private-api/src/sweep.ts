import { randomBytes } from 'node:crypto';
import Type from 'typebox';
import { openBlobStore } from '@inference-server/blob-store';
import { messageOf } from '@inference-server/errors';
import { configOrExit, createLogger, loadConfig } from '@inference-server/service-kit';
import { Config } from './config.js';
import { openDatabase } from './database/database.js';
import { createInstallation } from './database/installation.js';
import { reportSweeps, runSweeps } from './retention/report.js';
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
  'SWEEP_INTERVAL_S',
  'STORAGE_SWEEP_INTERVAL_S',
  'ABANDONED_AFTER_S',
  'ORPHANED_AFTER_S',
  'LOG_LEVEL',
]);
const [option, ...others] = process.argv.slice(2);
if (others.length > 0 || (option !== undefined && option !== '--dry-run')) {
  process.stderr.write('sweep takes one option: --dry-run\n');
  process.exit(2);
}
const settings = configOrExit('sweep', () => loadConfig(Settings, process.env));
const logger = createLogger('sweep', settings.LOG_LEVEL);
const stopping = new AbortController();
for (const end of ['SIGINT', 'SIGTERM'] as const) process.on(end, () => stopping.abort());

const database = openDatabase(settings.DATABASE_URL, logger);
try {
  const store = await openBlobStore(settings.STORAGE_URL);
  const sweeps = createSweeps({
    database,
    store,
    installation: createInstallation(database, () => randomBytes(16).toString('hex')),
    settings,
    logger,
  });
  const table = await (option === '--dry-run' ? reportSweeps : runSweeps)(sweeps, stopping.signal);
  process.stdout.write(table);
} catch (error) {
  process.stderr.write(`sweep failed: ${messageOf(error)}\n`);
  process.exitCode = 1;
} finally {
  await database.close();
}
