import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { createTestDatabase, waitUntil } from '@inference-server/testing';
import { openDatabase } from '../src/database/database.js';
import { createBlobRepository } from '../src/modules/blobs/repository.js';
import { tellOfBlobsUnderWay } from '../src/modules/blobs/under-way.js';

it('blobs are told of while they are under way, and no longer', async () => {
  const test = await createTestDatabase();
  const logger = pino({ level: 'silent' });
  const database = openDatabase(test.url, logger);
  const rows = createBlobRepository(database);
  const underWay = tellOfBlobsUnderWay({ rows, everyMs: 20, logger });
  const [coming, ended] = [randomUUID(), randomUUID()];
  for (const id of [coming, ended]) {
    await rows.insertPending(id);
    underWay.begin(id);
  }
  underWay.end(ended);
  await test.query(`UPDATE blobs SET touched_at = now() - interval '1 hour'`);
  const told = async () => {
    const found = await test.query<{ id: string }>(
      `SELECT id FROM blobs WHERE touched_at > now() - interval '1 minute'`,
    );
    return found.map(({ id }) => id);
  };
  expect(await waitUntil(async () => (await told()).length > 0, { timeoutMs: 5_000 })).toBe(true);
  expect(await told()).toEqual([coming]);
  await underWay.close();
  await database.close();
});
