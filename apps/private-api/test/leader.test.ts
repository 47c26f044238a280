import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { createLeadership } from '../src/database/leader.js';
import { endIfLapsed } from '../src/modules/attempts/end-attempt.js';
import { createModelRepository } from '../src/modules/models/repository.js';
import { newModel } from './new-model.js';

const logger = pino({ level: 'silent' });
let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, logger);
});
afterAll(() => database.close());

/** As if the clock of the database had gone on. */
const wait = (name: string, by: string) =>
  test.query(
    `UPDATE leaders SET leader_until = leader_until - $2::interval,
            steady_since = steady_since - $2::interval WHERE name = $1`,
    [name, by],
  );
/** Of a process that asks the database every time. */
function candidate(name: string, holder: string) {
  const leadership = createLeadership(database, name, holder, logger);
  return async () => {
    leadership.doubt();
    return (await leadership.lead())?.steadyMs;
  };
}

describe('a leadership', () => {
  it('is held by one, until it runs out', async () => {
    const [first, second] = [candidate('one', 'first'), candidate('one', 'second')];
    expect(await first()).toBe(0);
    await wait('one', '9 seconds');
    expect(await second()).toBeUndefined();
    await wait('one', '2 seconds');
    expect(await second()).toBe(0);
    expect(await first()).toBeUndefined();
  });

  it('is as old as it was held without a gap, and counts anew after a gap', async () => {
    const leader = candidate('gap', 'only');
    await leader();
    for (const seconds of [9, 18]) {
      await wait('gap', '9 seconds');
      expect(await leader()).toBeGreaterThanOrEqual(seconds * 1000);
    }
    await wait('gap', '11 seconds');
    expect(await leader()).toBe(0);
  });

  it('is told in the log, also when the answer that gave it was lost', async () => {
    const told: unknown[] = [];
    const heard = pino({ level: 'debug' }, { write: (line) => told.push(JSON.parse(line)) });
    let loses = true;
    const lossy: Database = {
      ...database,
      query: async (...args) => {
        const rows = await database.query(...args);
        if (loses) throw new Error('the connection broke');
        return rows as never;
      },
    };
    const leadership = createLeadership(lossy, 'lost', 'only', heard);
    await expect(leadership.lead()).rejects.toThrow('broke');
    loses = false;
    await leadership.lead();
    leadership.doubt();
    await leadership.lead();
    expect(told).toMatchObject([{ msg: 'leads from now on', work: 'lost' }]);
  });

  it('ends a lease only while it lasts, by the statement itself', async () => {
    const versionId = randomUUID();
    await createModelRepository(database).insert(newModel({ versionId }), null);
    await test.query(
      `INSERT INTO tasks (uid, state, model_version_id) VALUES ('t', 'RUNNING', $1)`,
      [versionId],
    );
    await test.query(
      `INSERT INTO attempts (task_uid, number, consumer_id, epoch, holder, lease_until)
       VALUES ('t', 1, 'c', 1, 'h', now() - interval '1 s')`,
    );
    const lead = candidate('statement', 'first');
    const endBy = (holder: string, forMs: number) =>
      endIfLapsed(database, 't', 1, 5, { name: 'statement', holder, forMs });
    await lead();
    await wait('statement', '5 seconds');
    expect(await endBy('second', 0)).toBeUndefined();
    expect(await endBy('first', 60_000)).toBeUndefined();
    await wait('statement', '1 hour');
    expect(await endBy('first', 0)).toBeUndefined();
    await lead();
    await wait('statement', '5 seconds');
    expect(await endBy('first', 4_000)).toEqual([]);
  });
});
