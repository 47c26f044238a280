import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { describe, expect, inject, it } from 'vitest';
import { createTestDatabase, testFolder, waitUntil } from '@inference-server/testing';
import { applyMigrations, schemaSql } from '../src/database/migrations.js';

describe('applyMigrations', () => {
  it('applies each migration once, also when two processes start at the same time', async () => {
    const { url, query } = await createTestDatabase({ empty: true });
    const applied = await Promise.all([applyMigrations(url), applyMigrations(url)]);
    const names = applied.flat();
    expect(names.length).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(names.length);
    expect(applied.map((own) => own.length).sort((a, b) => a - b)).toEqual([0, names.length]);
    expect(await applyMigrations(url)).toEqual([]);
    const rows = await query('SELECT finished_at IS NOT NULL AS done FROM _prisma_migrations');
    expect(rows).toEqual(names.map(() => ({ done: true })));
  });

  it('leads to the tables, columns and types that the schema describes', async () => {
    const migrated = await createTestDatabase({ empty: true });
    const described = await createTestDatabase({ empty: true });
    await applyMigrations(migrated.url);
    await described.query(await schemaSql(described.url));
    const columns = `SELECT table_name, column_name, udt_name, is_nullable, column_default
                       FROM information_schema.columns
                      WHERE table_schema = 'public' AND table_name <> '_prisma_migrations'
                      ORDER BY table_name, column_name`;
    const rows = await migrated.query(columns);
    expect(rows.length).toBeGreaterThan(50);
    expect(rows).toEqual(await described.query(columns));
  });
});

const inTime = { timeoutMs: 20_000 };

type EarlierDatabase = Awaited<ReturnType<typeof earlierDatabase>>;

/** A database as an earlier version left it, with the migrations before that name, and a task that runs. */
async function earlierDatabase(before: string) {
  const from = join(inject('repository'), 'prisma');
  const prismaFolder = await testFolder();
  await cp(from, prismaFolder, {
    recursive: true,
    filter: (path) => nameIn(path) < before,
  });
  const names = (await readdir(join(from, 'migrations'))).filter((name) => /^\d/.test(name)).sort();
  const database = await createTestDatabase({ empty: true });
  await applyMigrations(database.url, { prismaFolder });
  await database.query(
    `WITH m AS (INSERT INTO models (human_readable_id, description, current_version)
                VALUES ('copy', '', 1) RETURNING human_readable_id),
          v AS (INSERT INTO model_versions
                  (human_readable_id, number, container_tag, use_gpu, pull_policy)
                SELECT human_readable_id, 1, 'a:1', true, 'missing' FROM m RETURNING id),
          t AS (INSERT INTO tasks (uid, model_version_id, use_gpu, state)
                SELECT 'u', id, true, 'RUNNING' FROM v RETURNING uid)
     INSERT INTO attempts (task_uid, number, consumer_id, epoch, holder, lease_until)
     SELECT uid, 1, 'c', 1, 'h', now() FROM t`,
  );
  return { ...database, missing: names.filter((name) => name >= before) };
}

const nameIn = (path: string) => /\/(\d{14}_\w+)/.exec(path)?.[1] ?? '';

/** A transaction of another process, which holds what it was told to until it ends. */
async function other(url: string, ...statements: string[]) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('BEGIN');
  for (const statement of statements) await client.query(statement);
  return {
    query: (statement: string) => client.query(statement),
    async end() {
      await client.query('COMMIT');
      await client.end();
    },
  };
}

/** Whether a migration does. */
async function waitsForTable(database: Pick<EarlierDatabase, 'query'>): Promise<boolean> {
  const rows = await database.query(
    `SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE d.datname = current_database() AND l.locktype = 'relation' AND NOT l.granted`,
  );
  return rows.length > 0;
}

/** A process that brings the database up to this version is killed while it waits for a table. */
async function killMigrating(database: EarlierDatabase): Promise<void> {
  const command = fileURLToPath(new URL('../dist/migrate.js', import.meta.url));
  const env = { DATABASE_URL: database.url };
  const child = spawn(process.execPath, [command], { env, stdio: 'ignore' });
  const ended = once(child, 'exit');
  try {
    expect(await waitUntil(() => waitsForTable(database), inTime)).toBe(true);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

const beforeKeptPerModel = '20261121160000';

describe('a migration of a server that runs', () => {
  it('is in no deadlock with what locks a task first and its attempt then', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const over = new AbortController();
    const migrating = applyMigrations(database.url).finally(() => over.abort());
    const waits = async () => over.signal.aborted || (await waitsForTable(database));
    let settlements = 0;
    while (!over.signal.aborted) {
      const settlement = await other(
        database.url,
        `SELECT uid FROM tasks WHERE uid = 'u' FOR UPDATE`,
      );
      expect(await waitUntil(waits, inTime)).toBe(true);
      await settlement.query(`UPDATE attempts SET detail = 'x' WHERE task_uid = 'u'`);
      await settlement.query(`UPDATE tasks SET owner = 'x' WHERE uid = 'u'`);
      await settlement.end();
      settlements += 1;
    }
    expect(await migrating).toEqual(database.missing);
    expect(settlements).toBeGreaterThan(0);
    const tried = 'SELECT migration_name FROM _prisma_migrations WHERE rolled_back_at IS NOT NULL';
    expect(await database.query(tried)).toEqual([]);
  }, 60_000);

  it('lets go while others have its table, and tries again until they are done', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const dump = await other(database.url, 'LOCK TABLE attempts IN ACCESS SHARE MODE');
    const repeated: string[] = [];
    const migrating = applyMigrations(database.url, {
      lockTimeoutMs: 100,
      onRepeat: (name) => repeated.push(name),
    });
    expect(await waitUntil(() => repeated.length > 1, inTime)).toBe(true);
    expect(new Set(repeated)).toEqual(new Set([database.missing[1]]));
    await dump.end();
    expect(await migrating).toEqual(database.missing);
  }, 60_000);

  it('that could not have its locks is no obstacle to the next try', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const dump = await other(database.url, 'LOCK TABLE attempts IN ACCESS SHARE MODE');
    const options = { lockTimeoutMs: 100, withinMs: 0 };
    await expect(applyMigrations(database.url, options)).rejects.toThrow(/lock timeout/);
    await dump.end();
    expect(await applyMigrations(database.url)).toEqual(database.missing.slice(1));
  }, 60_000);

  it('whose process is killed is tried again by the next one', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const dump = await other(database.url, 'LOCK TABLE attempts IN ACCESS SHARE MODE');
    await killMigrating(database);
    const repeated: string[] = [];
    const migrating = applyMigrations(database.url, {
      lockTimeoutMs: 100,
      onRepeat: (name) => repeated.push(name),
    });
    migrating.catch(() => undefined);
    // First it waits for what Postgres is doing still for the one that was killed.
    expect(await waitUntil(() => repeated.length > 0, inTime)).toBe(true);
    await dump.end();
    expect(await migrating).toEqual(database.missing.slice(1));
    expect(await unfinished(database)).toEqual([]);
  }, 60_000);

  it('that comes to its end after its process was killed is not done twice', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const dump = await other(database.url, 'LOCK TABLE attempts IN ACCESS SHARE MODE');
    await killMigrating(database);
    await dump.end();
    await expect(applyMigrations(database.url)).resolves.toEqual(database.missing.slice(2));
    expect(await unfinished(database)).toEqual([]);
  }, 60_000);

  it('is not tried again for a refusal of before', async () => {
    const database = await earlierDatabase(beforeKeptPerModel);
    const dump = await other(database.url, 'LOCK TABLE attempts IN ACCESS SHARE MODE');
    await database.query(
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF EXISTS (SELECT FROM _prisma_migrations WHERE rolled_back_at IS NOT NULL) THEN
           RAISE EXCEPTION 'no disk is left';
         END IF;
         RETURN new;
       END $$`,
    );
    await database.query(
      `CREATE TRIGGER refuse BEFORE INSERT ON _prisma_migrations
         FOR EACH ROW EXECUTE FUNCTION refuse()`,
    );
    const repeated: string[] = [];
    const migrating = applyMigrations(database.url, {
      lockTimeoutMs: 100,
      withinMs: 3_000,
      onRepeat: (name) => repeated.push(name),
    });
    await expect(migrating).rejects.toThrow('no disk is left');
    expect(repeated).toEqual([database.missing[1]]);
    await dump.end();
  }, 60_000);
});

/** What was neither done nor given up. */
const unfinished = (database: EarlierDatabase) =>
  database.query(
    `SELECT migration_name FROM _prisma_migrations
      WHERE finished_at IS NULL AND rolled_back_at IS NULL`,
  );
