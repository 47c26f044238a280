import { applyMigrations } from './database/migrations.js';

/** `node dist/migrate.js`: brings the database at DATABASE_URL up to this version. */
const databaseUrl = process.env['DATABASE_URL'];
if (databaseUrl === undefined || databaseUrl === '') {
  process.stderr.write('DATABASE_URL: is required\n');
  process.exit(2);
}
const applied = await applyMigrations(databaseUrl);
process.stdout.write(`${applied.length} migrations applied\n`);
process.exit(0);
