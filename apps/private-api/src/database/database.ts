import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { PrismaClient } from '../generated/prisma/client.js';
import { toDatabaseError } from './database-error.js';

/** Runs one statement; its errors are AppErrors. */
export interface Queryable {
  query<Row>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface Database extends Queryable {
  /** For the statements that are not hot; errors are AppErrors. */
  prismaCall<T>(call: (prisma: PrismaClient) => Promise<T>): Promise<T>;
  /** All of `work` or nothing. Never hold one across docker, HTTP or blob calls. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/**
 * One bounded pool for Prisma and for raw statements: claim, renew, poll and dispatch are 3 to 4
 * times as fast without Prisma's layer. Every wait ends: for a connection, a statement, a lock.
 */
export function openDatabase(databaseUrl: string, logger: Logger): Database {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 20,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    query_timeout: 20_000,
    statement_timeout: 15_000,
    idle_in_transaction_session_timeout: 10_000,
  });
  pool.on('error', (error) => logger.warn({ reason: messageOf(error) }, 'a connection broke'));
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: false }) });

  return {
    query: (sql, values) => run(pool, sql, values),
    async prismaCall(call) {
      try {
        return await call(prisma);
      } catch (error) {
        throw toDatabaseError(error);
      }
    },
    transaction: (work) => inTransaction(pool, work),
    async close() {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

async function inTransaction<T>(pool: pg.Pool, work: (tx: Queryable) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw toDatabaseError(error);
  });
  let broken = true;
  try {
    await run(client, 'BEGIN');
    const result = await work({ query: (sql, values) => run(client, sql, values) });
    await run(client, 'COMMIT');
    broken = false;
    return result;
  } finally {
    // A connection whose transaction did not commit is closed, which rolls it back.
    client.release(broken);
  }
}

async function run<Row>(
  on: pg.Pool | pg.PoolClient,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    const { rows } = await on.query<Row & pg.QueryResultRow>({
      text: sql,
      values: [...values],
      ...(values.length === 0 ? {} : { name: nameOf(sql) }),
    });
    return rows;
  } catch (error) {
    throw toDatabaseError(error);
  }
}

/**
 * A named statement is parsed and planned once a connection: a poll costs half without its planning.
 * The texts are constants of the repositories, so there is no more than a handful of names.
 */
function nameOf(sql: string): string {
  const known = names.get(sql);
  if (known !== undefined) return known;
  const name = `s${names.size}`;
  names.set(sql, name);
  return name;
}

const names = new Map<string, string>();
