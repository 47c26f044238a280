import Type from 'typebox';
import { configOrExit, loadConfig } from '@inference-server/service-kit';
import { Config } from './config.js';
import { applyMigrations } from './database/migrations.js';

/** `node dist/migrate.js`: brings the database at DATABASE_URL up to this version. */
const Settings = Type.Pick(Config, ['DATABASE_URL']);
const { DATABASE_URL } = configOrExit('migrate', () => loadConfig(Settings, process.env));
const applied = await applyMigrations(DATABASE_URL, {
  onRepeat: (name) => process.stdout.write(`${name}: its tables are in use; trying again\n`),
});
process.stdout.write(`${applied.length} migrations applied\n`);
// A timer of the engine's, for its lock, would keep the process for another 10 s.
process.exit(0);
