import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, waitUntil, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database, type Queryable } from '../src/database/database.js';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
  await test.query(
    `INSERT INTO leaders (name, holder, leader_until, steady_since)
     VALUES ('a', '', now(), now()), ('b', '', now(), now())`,
  );
});
afterAll(() => database.close());

const touch = (tx: Queryable, name: string) =>
  tx.query('UPDATE leaders SET leader_until = now() WHERE name = $1', [name]);
const again = { code: 'SERVICE_UNAVAILABLE' };

describe('a statement that others are in the way of can be sent again', () => {
  it('after a deadlock', async () => {
    const order = (first: string, second: string) =>
      database.transaction(async (tx) => {
        await touch(tx, first);
        locked.push(first);
        await waitUntil(() => locked.length === 2, { timeoutMs: 10_000 });
        await touch(tx, second);
      });
    const locked: string[] = [];
    const results = await Promise.allSettled([order('a', 'b'), order('b', 'a')]);
    const failures = results.filter((result) => result.status === 'rejected');
    expect(failures).toMatchObject([{ reason: again }]);
  });

  it('after a lock that was not to be had in time', async () => {
    await database.transaction(async (holder) => {
      await touch(holder, 'a');
      const waiting = database.transaction(async (tx) => {
        await tx.query(`SET LOCAL lock_timeout = '50ms'`);
        await touch(tx, 'a');
      });
      await expect(waiting).rejects.toMatchObject(again);
    });
  });

  it('after a change that its transaction has not seen', async () => {
    const late = database.transaction(async (tx) => {
      await tx.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
      await tx.query('SELECT FROM leaders');
      await touch(database, 'a');
      await touch(tx, 'a');
    });
    await expect(late).rejects.toMatchObject(again);
  });
});
