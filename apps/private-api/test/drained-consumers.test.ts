import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ConsumerDetails } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import { ended, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const silence = () =>
  api.database.query(`UPDATE consumers SET heartbeat_at = now() - interval '1 hour'`);

describe('a consumer that is drained', () => {
  let drained: ReturnType<RunningPrivateApi['consumer']>;
  beforeEach(async () => {
    await silence();
    drained = api.consumer('taking-nothing');
    // Room for what other tests have left waiting, too.
    await drained.register({ slots: 1000 });
    await api.call('/api/consumers/taking-nothing/resume', { method: 'POST' });
  });
  const drain = async () =>
    (
      await api.call('/api/consumers/taking-nothing/drain', { method: 'POST' })
    ).json() as Promise<ConsumerDetails>;
  const sent = async () => {
    const uid = await api.postTask('copy');
    const queued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    return uid;
  };

  it('claims nothing from the answer on, not even what is sent to it later', async () => {
    const uid = await sent();
    expect(await drain()).toMatchObject({ running: 0, queued: 0 });
    expect(await drained.claim(uid)).toMatchObject({ outcome: 'refused' });
    // By a dispatcher that had decided before.
    await api.database.query(
      `UPDATE tasks SET state = 'QUEUED', consumer_id = 'taking-nothing', ticket_sent_at = now()
        WHERE uid = $1`,
      [uid],
    );
    expect(await drained.claim(uid)).toMatchObject({ outcome: 'refused' });
  });

  it('keeps what it runs, and asks for it again and adopts it', async () => {
    const uid = await sent();
    const won = await drained.claim(uid);
    expect(await drain()).toMatchObject({ running: 1, queued: 0 });
    expect(await drained.claim(uid)).toEqual(won);
    await silence();
    const next = api.consumer('taking-nothing', 'next');
    await next.register({ slots: 1000 });
    expect(await next.adopt(uid)).toMatchObject({ outcome: 'won', epoch: 2 });
    await next.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended }, 1, 2);
  });

  it('is answered of after a claim that was under way', async () => {
    const uid = await sent();
    const claiming = new pg.Client({ connectionString: api.database.url });
    await claiming.connect();
    try {
      await claiming.query('BEGIN');
      await claiming.query(`UPDATE tasks SET state = 'RUNNING' WHERE uid = $1`, [uid]);
      const { rows } = await claiming.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      const answer = drain();
      // Asked on another connection: in one transaction the answer never changes.
      const isWaiting = async () => {
        const waiting = await api.database.query(
          `SELECT FROM pg_stat_activity
            WHERE $1 = ANY(pg_blocking_pids(pid)) AND query LIKE '%consumer_id = $2%'`,
          [rows[0]?.pid],
        );
        return waiting.length === 1;
      };
      expect(await waitUntil(isWaiting, { timeoutMs: 5_000 })).toBe(true);
      await claiming.query('COMMIT');
      expect(await answer).toMatchObject({ running: 1, queued: 0 });
    } finally {
      await claiming.end();
      await api.database.query(`UPDATE tasks SET state = 'CANCELLED' WHERE uid = $1`, [uid]);
    }
  });
});
