import { afterAll, beforeAll, expect, it } from 'vitest';
import pg from 'pg';
import { pino } from 'pino';
import type { Database } from '../../src/database/database.js';
import { createDispatcherRepository } from '../../src/dispatcher/repository.js';
import { createAuditRepository } from '../../src/modules/audit/repository.js';
import { createConsumerRepository } from '../../src/modules/consumers/repository.js';
import { createPostgresInvocationStore } from '../../src/modules/invocations/stores/postgres-invocation-store.js';
import { createQuotas } from '../../src/modules/quotas/quotas.js';
import { createWaitingLimits } from '../../src/modules/tasks/waiting-limits.js';
import { createSweeps } from '../../src/retention/sweeps.js';
import { openSweepScene, type SweepScene } from '../sweep-scene.js';

const signal = new AbortController().signal;
const rows = 60_000;

/** Enough rows of what sweeps have no business with: the planner would rather read some than all. */
let scene: SweepScene;
beforeAll(async () => {
  scene = await openSweepScene();
  await scene.query('ALTER TABLE tasks DISABLE TRIGGER tasks_changed');
  await scene.query(
    `WITH b AS (
       INSERT INTO blobs (id, state, bytes, touched_at)
       SELECT gen_random_uuid(), 'stored', 1, now() - interval '9 days'
         FROM generate_series(1, ${2 * rows}) RETURNING id),
     t AS (
       INSERT INTO tasks (uid, model_version_id, state, created_at, ended_at, input_blob_id)
       SELECT md5(id::text), '${scene.versionId}',
              (CASE WHEN n % 2 = 0 THEN 'PENDING' ELSE 'FINISHED' END)::task_state,
              now() - interval '1 day', CASE WHEN n % 2 = 1 THEN now() END,
              CASE WHEN n % 2 = 0 THEN id END
         FROM (SELECT id, row_number() OVER () AS n FROM b) AS numbered RETURNING uid)
     INSERT INTO attempts (task_uid, number, consumer_id, epoch, holder, lease_until, ended_at, log)
     SELECT uid, 1, 'c', 1, 'h', now(), now(), 'x' FROM t`,
  );
  await scene.query(
    `INSERT INTO idempotency_keys (owner, key, task_uid, human_readable_id, sha256)
     SELECT 'a', n::text, '', '', '' FROM generate_series(1, ${rows}) AS n`,
  );
  await scene.query(
    `INSERT INTO audit_events (action, owner, credential, address, object_kind)
     SELECT 'post_task', 'a', 'a', 'a', 'none' FROM generate_series(1, ${rows})`,
  );
  await scene.query(
    `INSERT INTO gpu_use SELECT n::text, current_date, 1 FROM generate_series(1, ${rows}) AS n`,
  );
  await scene.query(
    `INSERT INTO invocations (owner, id, head, bytes)
     SELECT 'a', n, '{}', 2 FROM generate_series(1, ${rows}) AS n`,
  );
  await scene.query(
    `INSERT INTO invocation_contents (blob_id, owner, invocation_id)
     SELECT id, 'a', 1 FROM blobs LIMIT ${rows}`,
  );
  await scene.query('ANALYZE');
}, 120_000);
afterAll(() => scene.close());

/** The plan of a statement that is prepared once and used for ever. */
async function planOf(sql: string, values: readonly unknown[]): Promise<string> {
  const literals = values.map((value) => {
    if (value === null) return 'NULL';
    if (Array.isArray(value)) return `'{${value.join()}}'`;
    return `'${typeof value === 'number' ? value : (value as string)}'`;
  });
  const client = new pg.Client({ connectionString: scene.url });
  await client.connect();
  try {
    await client.query('SET plan_cache_mode = force_generic_plan');
    await client.query(`PREPARE it AS ${sql}`);
    const given = literals.length === 0 ? '' : `(${literals.join()})`;
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(`EXPLAIN EXECUTE it ${given}`);
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  } finally {
    await client.end();
  }
}

function recording(): { asked: [string, readonly unknown[]][]; database: Database } {
  const asked: [string, readonly unknown[]][] = [];
  const query: Database['query'] = (sql, values = []) => {
    asked.push([sql, values]);
    return scene.database.query(sql, values);
  };
  return { asked, database: { ...scene.database, query } };
}

const wholeTable = /Seq Scan on (tasks|blobs|attempts|idempotency_keys|audit_events|invocation\w*)/;

it('no sweep reads the whole of a table', async () => {
  const { asked, database } = recording();
  const { store, settings } = scene;
  const installation = { id: async () => 'a', known: async () => 'a' };
  const logger = pino({ level: 'silent' });
  const leader = { name: 'retention', holder: 'a' };
  const invocations = createPostgresInvocationStore(database);
  const sweeps = createSweeps({
    ...{ database, store, invocations, installation, settings, logger, leader },
  });
  for (const sweep of sweeps) {
    // That one does, on purpose, a batch at a time.
    if (sweep.name === 'lost-files') continue;
    asked.length = 0;
    await sweep.take(signal);
    for (const [sql, values] of asked) {
      expect(await planOf(sql, values), sweep.name).not.toMatch(wholeTable);
    }
  }
});

it('no page of the audit reads more than itself, whatever is asked for', async () => {
  const { asked, database } = recording();
  const none = { since: null, until: null, by: null, action: null, object: null };
  const since = Date.now() / 1000 + 3600;
  const { read } = createAuditRepository(database);
  for (const narrower of [{}, { since }, { until: 0 }, { by: 'nobody' }, { object: 'x' }]) {
    for await (const events of read({ ...none, ...narrower })) expect(events).not.toEqual([]);
  }
  expect(asked.length).toBeGreaterThan(rows / 2_000);
  for (const [sql, values] of [...asked.slice(0, 2), ...asked.slice(-1)]) {
    const plan = await planOf(sql, values);
    expect(plan).not.toMatch(wholeTable);
    expect(plan).toMatch(/Limit.*\n.*Index Scan using audit_events_pkey/);
  }
});

it('no look for gone consumers reads all their attempts', async () => {
  const { asked, database } = recording();
  const times = { heartbeatTimeoutMs: 0, goneAfterMs: 0, parkMs: 0 };
  await createConsumerRepository(database, times).findGone(['c', 'd']);
  expect(asked).toHaveLength(1);
  for (const [sql, values] of asked) expect(await planOf(sql, values)).not.toMatch(wholeTable);
});

it('no post counts the whole queue', async () => {
  const { asked, database } = recording();
  const limits = createWaitingLimits(database, { total: 1_000_000, perOwner: 100 });
  await limits.refusal('b');
  asked.length = 0;
  await limits.refusal('b');
  expect(asked).toHaveLength(2);
  for (const [sql, values] of asked) {
    const plan = await planOf(sql, values);
    expect(plan).toMatch(/tasks_waiting_(owner_)?idx/);
    expect(plan).not.toMatch(wholeTable);
  }
});

it('no post reads all that is stored, nor the attempts of the day', async () => {
  const { asked, database } = recording();
  const quotas = createQuotas(database, { storedBytes: 1, gpuSPerDay: 1 }, async () => 0);
  await quotas.refusalOfBytes('b', 1);
  await quotas.refusalOfGpus('b');
  expect(asked).toHaveLength(2);
  for (const [sql, values] of asked) {
    const plan = await planOf(sql, values);
    expect(plan).toMatch(/blobs_stored_owner_idx|gpu_use_pkey/);
    expect(plan).not.toMatch(wholeTable);
  }
});

it('no pass of the dispatcher reads the whole backlog', async () => {
  const { asked, database } = recording();
  const timings = { heartbeatTimeoutMs: 0, resendAfterMs: 0, goneAfterMs: 0 };
  const dispatcher = createDispatcherRepository(database, timings);
  await dispatcher.busy();
  await dispatcher.waitingVersions();
  await dispatcher.backlog([{ id: scene.versionId, most: 10, notShunning: ['c'] }]);
  const leader = { name: 'dispatcher', holder: '' };
  await dispatcher.assign(leader, [{ uid: '', attempt: 1, consumerId: 'c', lenders: [] }]);
  await dispatcher.returnTickets();
  await dispatcher.overdueTickets();
  expect(asked).toHaveLength(6);
  for (const [sql, values] of asked) {
    const plan = await planOf(sql, values);
    expect(plan).not.toMatch(wholeTable);
    expect(plan).toMatch(/Index Scan using tasks_(busy_idx|unended_idx|pkey) on tasks/);
    expect(plan).not.toMatch(/tasks_seq_key|Bitmap/);
    // The backlog of a model is in its order already: no more of it is read than is given away.
    expect(plan).not.toMatch(/Sort Key: t\.seq/);
  }
});
