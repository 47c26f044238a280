import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { AppError, messageOf } from '@inference-server/errors';
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
  /**
   * All of `work` or nothing; which of them, nobody knows when the answer to its COMMIT is lost
   * ({@link isInDoubt}). Never hold one across docker, HTTP or blob calls.
   */
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
  // A connection that breaks says so beside the statement that fails: unheard, it ends the process.
  const ignore = () => undefined;
  client.on('error', ignore);
  try {
    await run(client, 'BEGIN');
    const result = await work({ query: (sql, values) => run(client, sql, values) });
    await commit(client);
    broken = false;
    return result;
  } finally {
    // A connection whose transaction did not commit is closed, which rolls it back.
    client.release(broken);
    client.off('error', ignore);
  }
}

async function commit(client: pg.PoolClient): Promise<void> {
  try {
    await run(client, 'COMMIT');
  } catch (error) {
    if (error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE') inDoubt.add(error);
    throw error;
  }
}

/** Errors of transactions that may have been committed, or may be yet. */
const inDoubt = new WeakSet<AppError>();

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

/** Whether what threw this is a transaction that may have been committed all the same. */
export function isInDoubt(error: unknown): boolean {
  return error instanceof AppError && inDoubt.has(error);
}
