import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { AppError } from '@inference-server/errors';
import { openSchemaEngine, type OpenEngine } from './schema-engine.js';

const ownPrismaFolder = fileURLToPath(new URL('../../../../prisma', import.meta.url));

interface MigrationOptions {
  /** Where schema.prisma and the migrations lie. */
  prismaFolder?: string;
  /** How long a migration waits for a lock, while all that come later wait behind it. */
  lockTimeoutMs?: number;
  /** For how long it is tried again and again to have the locks. */
  withinMs?: number;
  /** Hears of a migration that could not have its locks and is tried again. */
  onRepeat?: (name: string) => void;
}

/**
 * Applies the migrations that the database lacks, records them in `_prisma_migrations` as Prisma's
 * own command does, and returns their names. Running it twice, or twice at once, is safe. One whose
 * locks others have is tried again; one that Postgres refuses, or that is interrupted, has left
 * nothing or is done, and is tried again in the first case when this is called again.
 */
export async function applyMigrations(
  databaseUrl: string,
  options: MigrationOptions = {},
): Promise<string[]> {
  const {
    prismaFolder = ownPrismaFolder,
    lockTimeoutMs = 5_000,
    withinMs = 90_000,
    onRepeat = () => undefined,
  } = options;
  const giveUpAt = performance.now() + withinMs;
  const { migrationDirectories, ...list } = await readMigrations(prismaFolder);
  const given = { databaseUrl, prismaFolder, lockTimeoutMs };
  return withEngine(given, async ({ engine, takeRefusal, pool }) => {
    const applied: string[] = [];
    await giveUpUnfinished(pool);
    for (let at = 0; at < migrationDirectories.length;) {
      // One by one: so it is known which of them fails.
      const migrationsList = {
        ...list,
        migrationDirectories: migrationDirectories.slice(0, at + 1),
      };
      try {
        const done = await engine.applyMigrations({ migrationsList, filters: noFilters });
        applied.push(...done.appliedMigrationNames);
        at += 1;
      } catch (error) {
        const refused = takeRefusal();
        if (!(refused instanceof pg.DatabaseError)) throw error;
        await giveUpUnfinished(pool);
        const migrationName = migrationDirectories[at]?.path ?? '';
        const isRepeated = lockCodes.has(refused.code ?? '') && performance.now() < giveUpAt;
        if (!isRepeated) {
          throw new AppError('INTERNAL', `migration ${migrationName}: ${refused.message}`, {
            cause: refused,
          });
        }
        onRepeat(migrationName);
        await sleep(pauseMs);
      }
    }
    return applied;
  });
}

/** A lock was not to be had in time; it was in a deadlock. */
const lockCodes = new Set(['55P03', '40P01']);

/** In which those that waited behind a migration go on. */
const pauseMs = 1_000;

/**
 * What was begun and did not come to its end: Prisma would go no further. Waits while a script is under
 * way still, whose process was killed: it may be done.
 */
async function giveUpUnfinished(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query(`SELECT 1 WHERE to_regclass('_prisma_migrations') IS NOT NULL`);
  if (rows.length === 0) return;
  await pool.query(
    `UPDATE _prisma_migrations SET rolled_back_at = now()
      WHERE finished_at IS NULL AND rolled_back_at IS NULL`,
  );
}

/** The SQL that leads from an empty database to the schema: what a first migration is made from. */
export async function schemaSql(databaseUrl: string): Promise<string> {
  const given = { databaseUrl, prismaFolder: ownPrismaFolder, lockTimeoutMs: 0 };
  return withEngine(given, async ({ engine }, schema) => {
    const { stdout } = await engine.diff({
      from: { tag: 'empty' },
      to: { tag: 'schemaDatamodel', files: [schema] },
      script: true,
      exitCode: null,
      filters: noFilters,
    });
    return stdout ?? '';
  });
}

/** One migrator at a time: the advisory lock belongs to a connection that does nothing else. */
async function withEngine<T>(
  given: { databaseUrl: string; prismaFolder: string; lockTimeoutMs: number },
  work: (
    open: OpenEngine & { pool: pg.Pool },
    schema: { path: string; content: string },
  ) => Promise<T>,
): Promise<T> {
  const { databaseUrl, prismaFolder, lockTimeoutMs } = given;
  const pool = new pg.Pool({ connectionString: databaseUrl, connectionTimeoutMillis: 10_000 });
  // A connection that breaks while it waits: whoever uses it next is told.
  pool.on('error', () => undefined);
  try {
    const lock = await pool.connect();
    lock.on('error', () => undefined);
    try {
      await lock.query(`SELECT pg_advisory_lock(hashtext('inference-server migrations'))`);
      const schema = await readSchema(prismaFolder);
      const open = await openSchemaEngine(pool, schema, lockTimeoutMs);
      return await work({ ...open, pool }, schema);
    } finally {
      lock.release(true);
    }
  } finally {
    await pool.end();
  }
}

const noFilters = { externalTables: [], externalEnums: [] };

async function readSchema(prismaFolder: string): Promise<{ path: string; content: string }> {
  const path = join(prismaFolder, 'schema.prisma');
  return { path, content: await readFile(path, 'utf8') };
}

async function readMigrations(prismaFolder: string) {
  const baseDir = join(prismaFolder, 'migrations');
  const names = (await readdir(baseDir, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return {
    baseDir,
    lockfile: {
      path: 'migration_lock.toml',
      content: await readFile(join(baseDir, 'migration_lock.toml'), 'utf8'),
    },
    migrationDirectories: await Promise.all(
      names.map(async (name) => ({
        path: name,
        migrationFile: {
          path: 'migration.sql',
          content: {
            tag: 'ok' as const,
            value: await readFile(join(baseDir, name, 'migration.sql'), 'utf8'),
          },
        },
      })),
    ),
    shadowDbInitScript: '',
  };
}
