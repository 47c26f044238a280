import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { newOperatorToken, publicApiToken } from '@inference-server/service-kit';
import {
  createTestDatabase,
  freePort,
  startApp,
  testFolder,
  testRedis,
} from '@inference-server/testing';

it('the first key of a start that is killed between its file and its row is made anew by the next', async () => {
  const database = await createTestDatabase();
  const redis = await testRedis();
  const folder = await testFolder();
  const path = join(folder, 'admin.key');
  const keyInFile = async () => (await readFile(path, 'utf8').catch(() => '')).trim();
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const token = newOperatorToken();
  const start = (ready: () => Promise<boolean>) =>
    startApp({
      app: 'private-api',
      settings: {
        PORT: String(port),
        PRIVATE_API_TOKEN: token,
        DATABASE_URL: database.url,
        REDIS_URL: redis.url,
        QUEUE_PREFIX: redis.prefix,
        STORAGE_URL: join(folder, 'storage'),
        DATA_DIR: folder,
      },
      ready,
    });
  const roleOf = async (bearer: string) => {
    const answer = await fetch(`${base}/internal/callers/identify`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${publicApiToken(token)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ bearer, address: '192.0.2.1' }),
      signal: AbortSignal.timeout(10_000),
    });
    return ((await answer.json()) as { role?: string }).role;
  };

  // The row comes to the database and goes no further.
  await database.query(
    `CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql
       AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'`,
  );
  await database.query(
    `CREATE TRIGGER stand_still BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION stand_still()`,
  );
  const stands = async () => {
    const sessions = await database.query(
      `SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'`,
    );
    return sessions.length > 0;
  };
  const killed = await start(stands);
  const lost = await keyInFile();
  await killed.kill();
  expect(lost).toMatch(/^isk_/);
  await database.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event = 'PgSleep'`,
  );
  await expect.poll(stands).toBe(false);
  await database.query(`DROP FUNCTION stand_still CASCADE`);
  expect(await database.query(`SELECT 1 FROM keys`)).toEqual([]);

  const isReady = async () => (await fetch(`${base}/readyz`).catch(() => undefined))?.ok === true;
  const next = await start(isReady);
  const key = await keyInFile();
  expect(key).not.toBe(lost);
  expect([await roleOf(lost), await roleOf(key)]).toEqual([undefined, 'admin']);
  expect(await database.query(`SELECT 1 FROM keys`)).toHaveLength(1);
  await next.stop();
});
