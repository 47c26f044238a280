import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { ownRedis, waitUntil } from '@inference-server/testing';
import { openDatabase } from '../src/database/database.js';
import { createDispatcherRepository } from '../src/dispatcher/repository.js';
import { collectTickets } from './collect-tickets.js';
import { ended, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of opened.splice(0).reverse()) await app.close();
});

async function start(overrides: Parameters<typeof runPrivateApi>[0] = {}) {
  const api = await runPrivateApi(overrides);
  opened.push(api);
  await api.postModel('copy');
  return api;
}

const statesOf = async (api: RunningPrivateApi) => {
  const rows = await api.database.query<{ state: string; n: number }>(
    'SELECT state, count(*)::int AS n FROM tasks GROUP BY state',
  );
  return Object.fromEntries(rows.map(({ state, n }) => [state, n]));
};

async function reaches(api: RunningPrivateApi, states: Record<string, number>): Promise<void> {
  const same = async () => {
    const now = await statesOf(api);
    return Object.entries(states).every(([state, n]) => (now[state] ?? 0) === n);
  };
  const reached = await waitUntil(same, { timeoutMs: 15_000 });
  expect(reached ? states : await statesOf(api)).toMatchObject(states);
}

function ticketsOf(api: RunningPrivateApi, consumerId: string) {
  const redisUrl = api.config.REDIS_URL;
  const { taken, receiver } = collectTickets({ redisUrl, prefix: api.redis.prefix, consumerId });
  opened.push(receiver);
  return taken;
}

describe('the dispatcher', () => {
  it('sends a consumer as many as it has slots, and the next one when one has ended', async () => {
    const api = await start();
    const uids = [];
    for (let i = 0; i < 6; i += 1) uids.push(await api.postTask('copy'));
    const consumer = api.consumer('c1');
    await consumer.register({ slots: 2 });
    await reaches(api, { QUEUED: 2, PENDING: 4 });
    await consumer.claim(uids[0] ?? '');
    await reaches(api, { RUNNING: 1, QUEUED: 1, PENDING: 4 });
    await consumer.claim(uids[1] ?? '');
    await reaches(api, { RUNNING: 2, PENDING: 4 });
    await consumer.finish(uids[0] ?? '', zipOf({ a: 'b' }));
    await reaches(api, { FINISHED: 1, RUNNING: 1, QUEUED: 1, PENDING: 3 });
  });

  it('sends tickets that name the attempt, oldest task first', async () => {
    const api = await start();
    const uids = [await api.postTask('copy'), await api.postTask('copy')];
    await api.consumer('c1').register({ slots: 2 });
    const tickets = ticketsOf(api, 'c1');
    await waitUntil(() => tickets.length >= 2, { timeoutMs: 10_000 });
    expect(tickets.slice(0, 2)).toEqual(uids.map((taskUid) => ({ taskUid, attempt: 1 })));
  });

  it('keeps GPU tasks for GPU consumers', async () => {
    const api = await start();
    await api.postModel('gpu', '&use_gpu=True');
    await api.postTask('gpu');
    await api.postTask('copy');
    await api.consumer('c1').register();
    await reaches(api, { QUEUED: 1, PENDING: 1 });
    const device = { uuid: 'GPU-1', name: null, memory_mib: null, driver: null };
    await api.consumer('g1').register({ device, slots: 1 });
    await reaches(api, { QUEUED: 2 });
    const rows = await api.database.query(
      `SELECT t.consumer_id, v.use_gpu FROM tasks t JOIN model_versions v ON v.id = t.model_version_id
        ORDER BY consumer_id`,
    );
    expect(rows).toEqual([
      { consumer_id: 'c1', use_gpu: false },
      { consumer_id: 'g1', use_gpu: true },
    ]);
  });

  it('sends a ticket again that Redis has lost', async () => {
    const redis = await ownRedis();
    const api = await start({ REDIS_URL: redis.url, HEARTBEAT_S: 1 });
    const uid = await api.postTask('copy');
    await api.consumer('c1').register();
    await reaches(api, { QUEUED: 1 });
    await flush(redis.url);
    const tickets = ticketsOf(api, 'c1');
    await waitUntil(() => tickets.length > 0, { timeoutMs: 10_000 });
    expect(tickets[0]).toEqual({ taskUid: uid, attempt: 1 });
  });

  it('takes the tickets back of a consumer that falls silent or signs off', async () => {
    const api = await start({ HEARTBEAT_S: 0.2 });
    await api.postTask('copy');
    await api.consumer('silent').register();
    await reaches(api, { QUEUED: 1 });
    await reaches(api, { PENDING: 1 });

    const leaving = api.consumer('leaving');
    await leaving.register();
    await reaches(api, { QUEUED: 1 });
    expect(await leaving.signOff()).toEqual({ returned_tickets: 1 });
    await reaches(api, { PENDING: 1 });
  });

  it('takes the tickets back of a consumer that is heard of and lost its engine', async () => {
    const api = await start({ HEARTBEAT_S: 60 });
    await api.postTask('copy');
    const broken = api.consumer('broken');
    await broken.register();
    await reaches(api, { QUEUED: 1 });
    await broken.register({ state: 'engine_away' });
    await reaches(api, { PENDING: 1 });
  });

  it('gives away what waits, and nothing else', async () => {
    const api = await start();
    const uid = await api.postTask('copy');
    await api.consumer('c1').register();
    await reaches(api, { QUEUED: 1 });
    // As another leader that decided before this one had written.
    const database = openDatabase(api.database.url, pino({ level: 'silent' }));
    opened.push(database);
    const timings = { heartbeatTimeoutMs: 20_000, resendAfterMs: 5_000, goneAfterMs: 60_000 };
    const { assign } = createDispatcherRepository(database, timings);
    const [leader] = await api.database.query<{ name: string; holder: string }>(
      `SELECT name, holder FROM leaders WHERE name = 'dispatcher'`,
    );
    expect(await assign(leader!, [{ uid, attempt: 1, consumerId: 'c2', lenders: [] }])).toEqual([]);
    const [task] = await api.database.query('SELECT state, consumer_id FROM tasks');
    expect(task).toEqual({ state: 'QUEUED', consumer_id: 'c1' });
  });

  it('is followed by nobody who does not lead', async () => {
    const api = await start();
    const database = openDatabase(api.database.url, pino({ level: 'silent' }));
    opened.push(database);
    const timings = { heartbeatTimeoutMs: 20_000, resendAfterMs: 5_000, goneAfterMs: 60_000 };
    const { assign } = createDispatcherRepository(database, timings);
    const uid = await api.postTask('copy');
    const wanted = [{ uid, attempt: 1, consumerId: 'c2', lenders: [] }];
    const leads = () =>
      api.database.query<{ name: string; holder: string }>(
        `SELECT name, holder FROM leaders WHERE name = 'dispatcher'`,
      );
    await waitUntil(async () => (await leads()).length > 0, { timeoutMs: 10_000 });
    const [leader] = await leads();
    expect(await assign({ ...leader!, holder: 'another' }, wanted)).toEqual([]);
    expect(await assign(leader!, wanted)).toEqual(wanted);
  });

  it('does not sign off a consumer on behalf of its predecessor', async () => {
    const api = await start();
    await api.postTask('copy');
    await api.database.query(`UPDATE consumers SET heartbeat_at = now() - interval '1 hour'`);
    await api.consumer('c1', 'new process').register();
    await reaches(api, { QUEUED: 1 });
    expect(await api.consumer('c1', 'old process').signOff()).toEqual({ returned_tickets: 0 });
    expect(await statesOf(api)).toEqual({ QUEUED: 1 });
  });

  it('gives another attempt when a lease lapses, three in all, elsewhere if it can', async () => {
    const api = await start({ LEASE_S: 0.4, HEARTBEAT_S: 60 });
    const uid = await api.postTask('copy');
    await api.consumer('c1').register();
    await reaches(api, { QUEUED: 1 });
    await api.consumer('c1').claim(uid, 1);
    await api.consumer('c2').register();
    await reaches(api, { QUEUED: 1 });
    const [second] = await api.database.query('SELECT consumer_id, attempt FROM tasks');
    expect(second).toEqual({ consumer_id: 'c2', attempt: 2 });
    await api.consumer('c2').claim(uid, 2);
    expect(await api.consumer('c1').renew(uid)).toEqual({ outcome: 'superseded' });
    const settled = await api
      .consumer('c1')
      .settle(uid, { kind: 'fault', cause: 'internal', ...ended }, 1);
    expect(settled).toEqual({ outcome: 'superseded' });
    await reaches(api, { QUEUED: 1 });
    const [third] = await api.database.query<{ consumer_id: string }>(
      'SELECT consumer_id FROM tasks',
    );
    await api.consumer(third?.consumer_id ?? '').claim(uid, 3);
    await reaches(api, { FAILED: 1 });
    const problem = await (await api.call(`/api/tasks/${uid}`)).json();
    expect(problem).toMatchObject({ status: 552, task: { reason: 'lease_lost', attempt: 3 } });
  });

  it('lets a retry wait for another consumer that is full, for some minutes', async () => {
    const api = await start({ HEARTBEAT_S: 60 });
    const { full, running } = await fillConsumer(api);
    const faulty = api.consumer('faulty');
    await faulty.register({ slots: 3 });
    const retries = [await api.postTask('copy'), await api.postTask('copy')];
    for (const uid of retries) {
      await goesTo(api, uid, 'faulty');
      await faulty.claim(uid);
    }
    for (const uid of retries) {
      await faulty.settle(uid, { kind: 'fault', cause: 'consumer_restarted', ...ended });
    }
    // What was posted after them goes where they do not, though no more is read than finds room, and one.
    await faulty.register({ slots: 1 });
    await goesTo(api, await api.postTask('copy'), 'faulty');
    await faulty.register({ slots: 2 });
    for (const uid of retries) expect(await ticketHolder(api, uid)).toBeNull();

    const [late = '', early = ''] = retries;
    await api.database.query(
      `UPDATE tasks SET not_before = now() - interval '301 s' WHERE uid = $1`,
      [late],
    );
    await goesTo(api, late, 'faulty');
    expect(await ticketHolder(api, early)).toBeNull();
    await full.finish(running, zipOf({ a: 'b' }));
    await goesTo(api, early, 'full');
  });

  it('lets no retry wait that met no fault, and none when there is nobody else', async () => {
    const api = await start({ HEARTBEAT_S: 60 });
    const { full } = await fillConsumer(api);
    const consumer = api.consumer('other');
    await consumer.register({ slots: 4 });
    await api.postModel('stubborn', '&retries=1');
    const [failing, faulty] = [await api.postTask('stubborn'), await api.postTask('copy')];
    for (const uid of [failing, faulty]) {
      await goesTo(api, uid, 'other');
      await consumer.claim(uid);
    }
    await consumer.settle(faulty, { kind: 'fault', cause: 'consumer_restarted', ...ended });
    await consumer.settle(failing, { kind: 'failed', reason: 'exit_code', ...ended });
    await goesTo(api, failing, 'other');
    expect(await ticketHolder(api, faulty)).toBeNull();
    await full.signOff();
    await goesTo(api, faulty, 'other');
  });

  it('leaves a lease alone that has not lapsed', async () => {
    const api = await start({ HEARTBEAT_S: 60 });
    const [silent, held] = [await api.postTask('copy'), await api.postTask('copy')];
    const consumer = api.consumer('c1');
    await consumer.register();
    await reaches(api, { QUEUED: 2 });
    for (const uid of [silent, held]) await consumer.claim(uid);
    await api.database.query(`UPDATE leaders SET steady_since = now() - interval '1 hour'`);
    await api.database.query(
      `UPDATE attempts SET lease_until = now() - interval '1 s' WHERE task_uid = $1`,
      [silent],
    );
    const lost = () =>
      api.database.query(`SELECT task_uid AS uid FROM attempts WHERE outcome = 'lost'`);
    expect(await waitUntil(async () => (await lost()).length > 0, { timeoutMs: 15_000 })).toBe(
      true,
    );
    expect(await lost()).toEqual([{ uid: silent }]);
  });

  it('ends no lease before it has led for the time of a lease: consumers come back first', async () => {
    const api = await start({ LEASE_S: 3, HEARTBEAT_S: 60 });
    const uid = await api.postTask('copy');
    const consumer = api.consumer('c1');
    await consumer.register();
    await reaches(api, { QUEUED: 1 });
    await consumer.claim(uid);
    // As after an outage: the lease is long over, the leader is new.
    await api.database.query(`UPDATE attempts SET lease_until = now() - interval '1 hour'`);
    await api.database.query(`UPDATE leaders SET steady_since = now()`);
    const lost = async () => ((await statesOf(api))['RUNNING'] ?? 0) === 0;
    expect(await waitUntil(lost, { timeoutMs: 1_500 })).toBe(false);
    expect(await waitUntil(lost, { timeoutMs: 10_000 })).toBe(true);
  });

  it('ends no lease after a jump of the clock before the grace is over again', async () => {
    const api = await start({ LEASE_S: 3, HEARTBEAT_S: 60 });
    const uid = await api.postTask('copy');
    const consumer = api.consumer('c1');
    await consumer.register();
    await reaches(api, { QUEUED: 1 });
    await consumer.claim(uid);
    const renewals = async () => {
      const [row] = await api.database.query<{ until: string }>(
        `SELECT leader_until::text AS until FROM leaders WHERE name = 'dispatcher'`,
      );
      return row?.until;
    };
    // Long after its grace: it may end leases, and has just told the database that it leads.
    await api.database.query(`UPDATE leaders SET steady_since = now() - interval '1 hour'`);
    await api.database.query(`UPDATE attempts SET lease_until = now() + interval '30 s'`);
    const first = await renewals();
    const isRenewed = async () => (await renewals()) !== first;
    expect(await waitUntil(isRenewed, { timeoutMs: 10_000 })).toBe(true);
    await api.database.query(
      `WITH leader AS (
         UPDATE leaders SET leader_until = leader_until - interval '1 hour',
                            steady_since = steady_since - interval '1 hour')
       UPDATE attempts SET lease_until = lease_until - interval '1 hour'`,
    );
    const lost = async () => ((await statesOf(api))['RUNNING'] ?? 0) === 0;
    // The leader asks again within a second, and then waits for the grace, which is 3 s.
    expect(await waitUntil(lost, { timeoutMs: 3_000 })).toBe(false);
    expect(await waitUntil(lost, { timeoutMs: 10_000 })).toBe(true);
  });

  it('gives a lapsed lease back to its holder until the next attempt is claimed', async () => {
    const api = await start({ LEASE_S: 0.5 });
    const uid = await api.postTask('copy');
    const consumer = api.consumer('c1');
    await consumer.register();
    await reaches(api, { QUEUED: 1 });
    await consumer.claim(uid);
    const attemptNow = async () => {
      const [row] = await api.database.query<{ attempt: number }>('SELECT attempt FROM tasks');
      return row?.attempt;
    };
    expect(await waitUntil(async () => (await attemptNow()) === 2, { timeoutMs: 10_000 })).toBe(
      true,
    );
    const output = zipOf({ a: 'b' });
    expect(await consumer.finish(uid, output, 1)).toEqual({ outcome: 'settled' });
    expect(await statesOf(api)).toEqual({ FINISHED: 1 });
    const got = await (await api.call(`/api/tasks/${uid}`)).arrayBuffer();
    expect(Buffer.from(got).equals(output)).toBe(true);
  });

  it('works with two private-apis: one leads, and the other takes over', async () => {
    const first = await start();
    const second = await startBeside(first);
    await first.postTask('copy');
    await first.consumer('c1').register();
    await reaches(first, { QUEUED: 1 });
    const leaders = await first.database.query(
      `SELECT holder FROM leaders WHERE name = 'dispatcher'`,
    );
    expect(leaders).toHaveLength(1);
    opened.splice(opened.indexOf(first), 1);
    await first.close();
    const uid = await second.postTask('copy');
    const queued = async () => {
      const [row] = await second.database.query<{ state: string }>(
        'SELECT state FROM tasks WHERE uid = $1',
        [uid],
      );
      return row?.state === 'QUEUED';
    };
    expect(await waitUntil(queued, { timeoutMs: 15_000 })).toBe(true);
  });
});

/** A consumer of one slot that runs a task. */
async function fillConsumer(api: RunningPrivateApi) {
  const full = api.consumer('full');
  await full.register({ slots: 1 });
  const running = await api.postTask('copy');
  await goesTo(api, running, 'full');
  await full.claim(running);
  return { full, running };
}

async function goesTo(api: RunningPrivateApi, uid: string, consumer: string): Promise<void> {
  const isThere = async () => (await ticketHolder(api, uid)) === consumer;
  await waitUntil(isThere, { timeoutMs: 10_000 });
  expect(await ticketHolder(api, uid)).toBe(consumer);
}

async function ticketHolder(api: RunningPrivateApi, uid: string): Promise<string | null> {
  const [row] = await api.database.query<{ consumer: string | null }>(
    `SELECT CASE WHEN state = 'QUEUED' THEN consumer_id END AS consumer
       FROM tasks WHERE uid = $1`,
    [uid],
  );
  return row?.consumer ?? null;
}

async function flush(redisUrl: string): Promise<void> {
  const client = new Redis(redisUrl);
  await client.flushall();
  await client.quit();
}

/** A second private-api on the same database, Redis prefix and folder. */
async function startBeside(first: RunningPrivateApi): Promise<RunningPrivateApi> {
  const api = await runPrivateApi({ ...first.config, PORT: 0 });
  opened.push(api);
  return { ...api, database: first.database };
}
