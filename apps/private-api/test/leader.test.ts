import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { createLeadership } from '../src/database/leader.js';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
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
  const leadership = createLeadership(database, name, holder);
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
});
