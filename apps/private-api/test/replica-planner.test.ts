import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../src/database/database.js';
import { createReplicaPlanner } from '../src/dispatcher/replica-planner.js';
import { createReplicaPlanRepository } from '../src/dispatcher/replica-repository.js';
import { createReplicaRepository } from '../src/modules/replicas/repository.js';
import * as has from './capacities.js';
import { hostModel } from './replica-players.js';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, pino({ level: 'silent' }));
});
afterAll(() => database.close());

let versionId: string;
beforeEach(async () => {
  await test.query(`TRUNCATE leaders, gateways, models, model_versions, replicas CASCADE`);
  versionId = await hostModel({ database: test }, 'iris', { settings: { min_replicas: 1 } });
  told.length = 0;
});

interface Told {
  level: number;
  msg: string;
  [name: string]: unknown;
}
const told: Told[] = [];
const planner = (holder: string) =>
  createReplicaPlanner({
    rows: createReplicaPlanRepository(database, { leaseMs: 30_000, maxCallS: 3_600 }),
    leader: { name: 'dispatcher', holder },
    newId: randomUUID,
    logger: pino({}, { write: (line) => told.push(JSON.parse(line) as Told) }),
  });
/** That has led for longer than a lease. */
const leads = (holder: string) =>
  test.query(
    `INSERT INTO leaders (name, holder, leader_until, steady_since)
     VALUES ('dispatcher', $1, now() + interval '1 minute', now() - interval '1 minute')`,
    [holder],
  );
const pass = async (planner: ReturnType<typeof createReplicaPlanner>) => {
  const consumers = [{ id: 'c', hostsReplicas: true, ...has.cpu() }];
  await planner.plan(await planner.read(), consumers, []);
};
const statesOf = () => test.query(`SELECT state::text AS state, end_reason AS why FROM replicas`);
const messages = () => told.map(({ msg }) => msg);

it('tells of no replica that it starts, or lets go, as who leads no more', async () => {
  await leads('another');
  await pass(planner('late'));
  expect([await statesOf(), messages()]).toEqual([[], []]);
  await pass(planner('another'));
  expect(await statesOf()).toEqual([{ state: 'STARTING', why: null }]);
  expect(messages()).toEqual(['a replica is started']);
  await test.query(`UPDATE models SET deleted_at = now()`);
  await pass(planner('late'));
  expect(await statesOf()).toEqual([{ state: 'STARTING', why: null }]);
  expect(messages()).toHaveLength(1);
  await pass(planner('another'));
  expect(await statesOf()).toEqual([{ state: 'STOPPING', why: null }]);
  expect(messages().slice(1)).toEqual(['a replica is let go']);
});

it('has lost those that were to serve, with a pause; one that was to stop has stopped', async () => {
  await leads('leader');
  const lapsed = (state: string, consumerId: string) =>
    test.query(
      `INSERT INTO replicas (id, model_version_id, consumer_id, state, lease_until, drained_at)
       VALUES ($1, $2, $3, $4::replica_state, now() - interval '1 second', now())`,
      [randomUUID(), versionId, consumerId, state],
    );
  await lapsed('STOPPING', 'c');
  const leader = planner('leader');
  await leader.tidy(30_000);
  expect(await statesOf()).toEqual([{ state: 'ENDED', why: 'stopped' }]);
  expect(told).toMatchObject([{ level: 30, consumerId: 'c' }]);
  const lossesOf = async () => (await leader.read()).versions.map(({ losses }) => losses);
  expect(await lossesOf()).toEqual([0]);
  await lapsed('READY', 'd');
  await leader.tidy(30_000);
  expect(await lossesOf()).toEqual([1]);
  expect(told[1]).toMatchObject({ level: 40, msg: 'a replica is lost with its consumer' });
});

it('knows of a version that it has only failed, however long ago, until one serves', async () => {
  await leads('leader');
  const replica = (state: string, why: string | null, hours: number, hasServed = false) =>
    test.query(
      `INSERT INTO replicas (id, model_version_id, consumer_id, state, lease_until, ended_at, end_reason, ready_at)
       VALUES ($1, $2, 'c', $3::replica_state, now() + interval '1 minute',
               CASE WHEN $4::text IS NOT NULL THEN now() - $5 * interval '1 hour' END, $4,
               CASE WHEN $6 THEN now() - interval '1 day' END)`,
      [randomUUID(), versionId, state, why, hours, hasServed],
    );
  const found = async () => {
    const [version] = (await planner('leader').read()).versions;
    return [version?.failures, version?.hasOnlyFailed];
  };
  expect(await found()).toEqual([0, false]);
  await replica('ENDED', 'stopped', 12, true);
  expect(await found()).toEqual([0, false]);
  await replica('ENDED', 'start_failed', 10);
  expect(await found()).toEqual([0, true]);
  // As long as there is no room for another one, who waits is told of it.
  const { hosted } = createReplicaRepository(database, { leaseMs: 30_000, maxCallS: 3_600 });
  const failure = async () => (await hosted()).map((of) => of.last_failure?.end_reason);
  expect(await failure()).toEqual([undefined]);
  await test.query(`UPDATE model_versions SET no_room_since = now()`);
  expect(await failure()).toEqual(['start_failed']);
  // Neither tells whether it would have served.
  await replica('ENDED', 'stopped', 9);
  await replica('ENDED', 'lost', 8);
  await replica('STARTING', null, 0);
  expect(await found()).toEqual([0, true]);
  expect(await failure()).toEqual(['start_failed']);
  await replica('READY', null, 0, true);
  expect(await found()).toEqual([0, false]);
  await test.query(`DELETE FROM replicas WHERE state = 'READY'`);
  await replica('ENDED', 'lost', 7, true);
  expect(await found()).toEqual([0, false]);
});
