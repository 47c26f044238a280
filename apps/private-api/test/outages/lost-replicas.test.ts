import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import {
  hostModel,
  playConsumer,
  playGateway,
  replicasOf,
  stateOfReplica,
  untilReplicaIs,
  type PlayedConsumer,
  type PlayedGateway,
} from '../replica-players.js';
import { runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';

let api: RunningPrivateApi;
let consumer: PlayedConsumer;
let gateway: PlayedGateway;
beforeEach(async () => {
  api = await runPrivateApi({ LEASE_S: 2 });
  consumer = playConsumer(api, 'c1');
  gateway = playGateway(api);
});
afterEach(() => api.close());

const silence = () =>
  api.database.query(`UPDATE consumers SET heartbeat_at = now() - interval '1 minute'`);
const leaseOf = async (id: string) => {
  const [row] = await api.database.query<{ ms: number }>(
    `SELECT (extract(epoch FROM lease_until - now()) * 1000)::float8 AS ms FROM replicas WHERE id = $1`,
    [id],
  );
  return row?.ms ?? -Infinity;
};

async function served(): Promise<{ version: string; replica: string }> {
  await consumer.register();
  const version = await hostModel(api, 'iris');
  gateway.want(version, 1);
  await gateway.sync();
  const replica = await consumer.serve('iris');
  await gateway.finds(replica);
  return { version, replica };
}

describe('a consumer of which nothing is heard', () => {
  it('has its replicas lost, and others are started elsewhere', async () => {
    const { replica } = await served();
    await silence();
    const elsewhere = playConsumer(api, 'c2');
    await elsewhere.register();
    await untilReplicaIs(api, replica, 'ENDED');
    await gateway.sync();
    await gateway.finds(await elsewhere.serve('iris', 'elsewhere:9090'));
    const all = await replicasOf(api, 'iris');
    expect(all.map((of) => [of.consumer_id, of.state, of.end_reason])).toEqual([
      ['c2', 'READY', null],
      ['c1', 'ENDED', 'lost'],
    ]);
    // It comes back: what it has is not ordered any more.
    await consumer.register();
    const said = await consumer.report([{ id: replica, state: 'ready', address: 'late:1' }]);
    expect(said.replicas).toEqual([]);
    expect(await stateOfReplica(api, replica)).toBe('ENDED');
  });

  it('keeps them as long as it reports them, and loses one that it does not', async () => {
    const { replica } = await served();
    const began = performance.now();
    const reported = async () => {
      await consumer.report();
      return performance.now() - began > 5_000;
    };
    expect(await waitUntil(reported, { timeoutMs: 10_000 })).toBe(true);
    expect(await stateOfReplica(api, replica)).toBe('READY');
    await consumer.report([]);
    const forgotten = async () => {
      await consumer.report([]);
      return (await stateOfReplica(api, replica)) === 'ENDED';
    };
    expect(await waitUntil(forgotten, { timeoutMs: 10_000 })).toBe(true);
  });

  it('gets none while it says nothing of replicas, and a loss is waited after and told', async () => {
    // As an older one: it is heard of, and hosts nothing.
    await api.consumer('a-deaf', 'a-process').register();
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    for (let n = 0; n < 5; n += 1) await gateway.sync();
    expect(await replicasOf(api, 'iris')).toEqual([]);
    const bad = playConsumer(api, 'a-bad');
    await bad.register();
    const first = await bad.nextOrder();
    // It says nothing of what it is ordered.
    const lost = async () => {
      await bad.report([]);
      await gateway.sync();
      return (await stateOfReplica(api, first.id)) === 'ENDED';
    };
    expect(await waitUntil(lost, { timeoutMs: 10_000 })).toBe(true);
    const { trouble } = await gateway.until((news) => news.trouble.length > 0);
    expect(trouble[0]?.detail).toMatch(/^Its last replica failed \(lost\): Nothing was heard/);
    await consumer.register();
    const next = async () => {
      await gateway.sync();
      return (await consumer.report()).replicas.length === 1;
    };
    expect(await waitUntil(next, { timeoutMs: 10_000 })).toBe(true);
    const [again] = await api.database.query<{ ms: number }>(
      `SELECT (extract(epoch FROM n.created_at - l.ended_at) * 1000)::float8 AS ms
         FROM replicas n, replicas l WHERE l.id = $1 AND n.id <> l.id`,
      [first.id],
    );
    expect(again?.ms).toBeGreaterThanOrEqual(1_000);
  });

  it('loses none to a leader that has just begun', async () => {
    const { replica } = await served();
    await api.database.query(
      `UPDATE leaders SET steady_since = now() + interval '3 seconds' WHERE name = 'dispatcher'`,
    );
    await api.database.query(`UPDATE replicas SET lease_until = now() - interval '1 hour'`);
    const ended = async () => (await stateOfReplica(api, replica)) === 'ENDED';
    expect(await waitUntil(ended, { timeoutMs: 2_500 })).toBe(false);
    await consumer.report();
    expect(await leaseOf(replica)).toBeGreaterThan(1_000);
  });
});

it('a consumer that signs off has its replicas wait for the next process, and serve till then', async () => {
  const { version, replica } = await served();
  gateway.want(version, 0, 1);
  gateway.calls(replica, 1);
  await gateway.sync();
  await consumer.signOff();
  expect(await leaseOf(replica)).toBeGreaterThan(500_000);
  // Longer than a lease: nobody else is there.
  await silence();
  for (let n = 0; n < 5; n += 1) await gateway.sync();
  expect((await gateway.sync()).replicas).toMatchObject([{ id: replica }]);
  const next = playConsumer(api, 'c1', 'next-process');
  await next.register();
  const at = '10.213.0.2:9090';
  const { replicas } = await next.report([{ id: replica, state: 'ready', address: at }]);
  expect(replicas).toMatchObject([{ id: replica, wanted: 'run' }]);
  expect(await stateOfReplica(api, replica)).toBe('READY');
  expect(await leaseOf(replica)).toBeLessThan(2_100);
  // It does not come back: others take its place.
  await next.signOff();
  await silence();
  const elsewhere = playConsumer(api, 'c2');
  await elsewhere.register();
  await gateway.sync();
  await gateway.finds(await elsewhere.serve('iris', 'elsewhere:9090'));
  await gateway.loses(replica);
});

it('another process goes on where the leader was killed', async () => {
  // Its start may take longer than a lease.
  const other = await runPrivateApi({ DATABASE_URL: api.config.DATABASE_URL });
  try {
    const { replica } = await served();
    // As if it had been: its row is not given back, and it writes nothing more.
    await api.database.query(
      `UPDATE leaders SET holder = 'killed', leader_until = now() + interval '3 seconds'`,
    );
    const through = { ...other, operatorToken: other.operatorToken };
    const elsewhere = playConsumer(through, 'c1', 'c1-process');
    const door = playGateway(through);
    const next = await hostModel(api, 'next');
    door.want(next, 1);
    await door.sync();
    const keep = async () => {
      const { replicas } = await elsewhere.report([
        { id: replica, state: 'ready', address: '10.213.0.2:9090' },
      ]);
      await door.sync();
      return replicas.some((of) => of.human_readable_id === 'next');
    };
    expect(await waitUntil(keep, { timeoutMs: 15_000 })).toBe(true);
    expect(await stateOfReplica(api, replica)).toBe('READY');
  } finally {
    await other.close();
  }
});
