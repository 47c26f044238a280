import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { startPostgres, type LocalService } from '@inference-server/local-services';
import type { SharedServices } from './fixture-host.js';
import { migrate } from './migrate.js';
import { query } from './query.js';

export interface Given {
  /** Everything that the run writes is below it. */
  folder: string;
  environment: NodeJS.ProcessEnv;
  repository: string;
}

/** One PostgreSQL a run (DATABASE_URL's, or its own), with a migrated database to clone. */
export function createSharedPostgres({ folder, environment, repository }: Given) {
  const prefix = `is_test_${randomBytes(4).toString('hex')}_`;
  const template = `${prefix}template`;
  let own: LocalService | undefined;
  let url: string | undefined;

  return {
    async start(): Promise<SharedServices['postgres']> {
      const givenUrl = environment['DATABASE_URL'] ?? '';
      if (givenUrl === '') {
        own = await startPostgres({
          dataDir: join(folder, 'services'),
          logFile: join(folder, 'services', 'postgres.log'),
          environment,
          signal: AbortSignal.timeout(120_000),
          durable: false,
        });
      }
      url = own?.url ?? givenUrl;
      await query(url, `create database ${template}`);
      await migrate(databaseUrl(url, template), repository, environment);
      return { url, template, prefix };
    },

    /** Throws when a test has left a database. */
    async stop(): Promise<void> {
      if (url === undefined) return;
      const rows = await query<{ datname: string }>(
        url,
        `select datname from pg_database where datname like '${prefix.replaceAll('_', '\\_')}%'`,
      );
      for (const { datname } of rows) await query(url, `drop database "${datname}" with (force)`);
      await own?.stop();
      const left = rows.map(({ datname }) => datname).filter((name) => name !== template);
      if (left.length > 0) throw new Error(`Tests have left databases: ${left.join(', ')}`);
    },
  };
}

/** The url of another database of the same server. */
export function databaseUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}
