import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { waitUntil } from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';
import { expectEngineWithout } from './engine.js';
import { askFixtureHost } from './fixture-host.js';
import { query } from './query.js';
import { databaseUrl } from './shared-postgres.js';

export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  query<Row extends Record<string, unknown>>(
    statement: string,
    values?: readonly unknown[],
  ): Promise<Row[]>;
  /** Fails when somebody is still connected. Doing it twice is fine. */
  drop(): Promise<void>;
}

/**
 * A database of the caller's own with all migrations applied (a clone of the template, some 30 ms);
 * `empty`: with none. Dropped when the file ends, which fails when a pool was not closed, or when the
 * installation of this database has left anything in the engine.
 */
export async function createTestDatabase({ empty = false } = {}): Promise<TestDatabase> {
  const server = await askFixtureHost(inject('fixtureHost'), 'postgres');
  const name = `${server.prefix}${randomBytes(6).toString('hex')}`;
  await query(
    server.url,
    `create database ${name} template ${empty ? 'template0' : server.template}`,
  );
  const url = databaseUrl(server.url, name);
  let dropped = false;
  const drop = async () => {
    if (dropped) return;
    dropped = true;
    const installations = await installationsIn(url);
    let sessions = 0;
    const unused = async () => {
      sessions = await countSessions(server.url, name);
      return sessions === 0;
    };
    await waitUntil(unused, { timeoutMs: 3_000 });
    await query(server.url, `drop database ${name} with (force)`);
    if (sessions > 0) throw new Error(`${sessions} sessions were left open on the test database`);
    for (const id of installations) await expectEngineWithout(id);
  };
  whenFileEnds('test database', drop);
  return { url, name, drop, query: (statement, values) => query(url, statement, values) };
}

async function countSessions(serverUrl: string, name: string): Promise<number> {
  const rows = await query<{ n: number }>(
    serverUrl,
    'select count(*)::int as n from pg_stat_activity where datname = $1',
    [name],
  );
  return rows[0]?.n ?? 0;
}

async function installationsIn(url: string): Promise<string[]> {
  const [table] = await query(url, `select to_regclass('installations') as name`);
  if (table?.['name'] == null) return [];
  return (await query<{ id: string }>(url, 'select id from installations')).map(({ id }) => id);
}
