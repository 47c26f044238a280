import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { taskTransitions, type Problem } from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { waitUntil } from '@inference-server/testing';
import { openDatabase, type Database } from '../../src/database/database.js';
import { endIfLapsed } from '../../src/modules/attempts/end-attempt.js';
import {
  actingFor,
  ended,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from '../running-private-api.js';
import { claimTask, problemOfTask, stateOfTask } from '../task-helpers.js';

const everyPass = { timeoutMs: 10_000 };

let api: RunningPrivateApi;
let database: Database;
beforeAll(async () => {
  api = await runPrivateApi({ SWEEP_INTERVAL_S: 0.1, INPUT_RETENTION_S: 3600 });
  await api.postModel('copy');
  await api.postModel('short', '&retention_s=3600&input_retention_s=600&log_retention_s=3600');
  await api.postModel('granted');
  database = openDatabase(api.database.url, pino({ level: 'silent' }));
});
afterAll(async () => {
  await database.close();
  await api.close();
});

/** As if it had happened so much earlier. */
const setBack = (
  uid: string,
  column: 'created_at' | 'not_before' | 'ended_at' | 'fetched_at',
  by: string,
) =>
  api.database.query(
    `UPDATE tasks SET ${column} = ${column} - $2::interval WHERE uid = $1 AND ${column} IS NOT NULL`,
    [uid, by],
  );
/** As if its holder had not been heard of for longer than its lease. */
async function lapse(uid: string): Promise<void> {
  await api.database.query(
    `UPDATE attempts SET lease_until = now() - interval '1 s' WHERE task_uid = $1`,
    [uid],
  );
  await api.database.query(
    `INSERT INTO leaders (name, holder, leader_until, steady_since)
     VALUES ('the test', 'the test', now() + interval '1 h', now() - interval '1 h')
     ON CONFLICT DO NOTHING`,
  );
  await endIfLapsed(database, uid, 1, 5, { name: 'the test', holder: 'the test', forMs: 0 });
}
const rowOf = async (uid: string) => {
  const [row] = await api.database.query<{
    input_blob_id: string | null;
    output_blob_id: string | null;
    fetched_at: Date | null;
  }>('SELECT input_blob_id, output_blob_id, fetched_at FROM tasks WHERE uid = $1', [uid]);
  return row;
};
const answers = async (uid: string, status: number) =>
  waitUntil(
    async () => (await api.call(`/api/tasks/${uid}`, { method: 'HEAD' })).status === status,
    everyPass,
  );
const isWithoutInput = (uid: string) =>
  waitUntil(async () => (await rowOf(uid))?.input_blob_id === null, everyPass);
/** As if the server's setting had been lowered since. */
const grant = (column: 'retention_s' | 'input_retention_s' | 'log_retention_s') =>
  api.database.query(
    `UPDATE model_versions SET ${column} = 60 * 86400 WHERE human_readable_id = 'granted'`,
  );
/** A pass of every sweep begins and ends after this is called. */
async function wholePass(): Promise<void> {
  for (let pass = 0; pass < 2; pass += 1) {
    const { id } = (
      await api.database.query<{ id: string }>(
        `INSERT INTO blobs (id, state) VALUES (gen_random_uuid(), 'deleting') RETURNING id`,
      )
    )[0]!;
    const isGone = async () =>
      (await api.database.query('SELECT id FROM blobs WHERE id = $1', [id])).length === 0;
    expect(await waitUntil(isGone, everyPass)).toBe(true);
  }
}
async function finishedTask(model = 'copy', zip = zipOf({ a: 'b' })): Promise<string> {
  const uid = await api.postTask(model);
  expect(await (await claimTask(api, uid)).finish(uid, zip)).toEqual({ outcome: 'settled' });
  return uid;
}

describe('the time in the queue', () => {
  it.each(['PENDING', 'QUEUED'])('ends a task that is %s, and says why', async (state) => {
    const uid = await api.postTask('copy');
    if (state === 'QUEUED') {
      await api.consumer('c1').register({ slots: 1000 });
      const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
      expect(await waitUntil(isQueued, everyPass)).toBe(true);
    }
    await setBack(uid, 'created_at', '7 days 1 minute');
    expect(await answers(uid, 552)).toBe(true);
    expect(await problemOfTask(api, uid)).toMatchObject({
      code: 'TASK_FAILED',
      detail: 'The task waited for longer than tasks may wait here.',
      task: { state: 'EXPIRED', reason: 'queue_time_over', attempt: 1, log_tail: [] },
    });
    expect(await api.consumer('c1').claim(uid)).toMatchObject({ outcome: 'refused' });
  });

  it('counts anew before another attempt: its holder may come back to the last one', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimTask(api, uid);
    await setBack(uid, 'created_at', '7 days 1 minute');
    await wholePass();
    expect(await stateOfTask(api, uid)).toMatchObject({ state: 'RUNNING' });
    await lapse(uid);
    await wholePass();
    expect(await stateOfTask(api, uid)).toEqual({
      state: expect.stringMatching('PENDING|QUEUED'),
      attempt: 2,
    });
    expect((await consumer.fetch(uid, 'input')).status).toBe(200);
    expect(await stateOfTask(api, uid)).toEqual({ state: 'RUNNING', attempt: 1 });

    await lapse(uid);
    await setBack(uid, 'not_before', '8 days');
    expect(await answers(uid, 552)).toBe(true);
    expect(await stateOfTask(api, uid)).toEqual({ state: 'EXPIRED', attempt: 2 });
    expect(await problemOfTask(api, uid)).toMatchObject({
      task: { reason: 'queue_time_over', attempts: [{ number: 1, outcome: 'lost' }] },
    });
  });

  it('leaves alone what the state table does, and what is younger', async () => {
    expect(taskTransitions.queue_time_over.from).toEqual(['PENDING', 'QUEUED']);
    const waiting = await api.postTask('copy');
    await setBack(waiting, 'created_at', '6 days 23 hours');
    const finished = await finishedTask();
    await setBack(finished, 'created_at', '30 days');
    await wholePass();
    expect(await stateOfTask(api, waiting)).toMatchObject({
      state: expect.not.stringMatching('EXPIRED'),
    });
    expect(await stateOfTask(api, finished)).toMatchObject({ state: 'FINISHED' });
  });

  it('wakes whoever waits for the task', async () => {
    const uid = await api.postTask('copy');
    const waited = api.call(`/api/tasks/${uid}?wait=15`);
    await setBack(uid, 'created_at', '8 days');
    expect((await waited).status).toBe(552);
  });
});

describe('an output', () => {
  it('is kept for its time after the end, then the task answers 553', async () => {
    const uid = await finishedTask();
    await setBack(uid, 'ended_at', '6 days 23 hours');
    await wholePass();
    expect((await api.call(`/api/tasks/${uid}`, { method: 'HEAD' })).status).toBe(200);
    const { files } = await api.stored();
    await setBack(uid, 'ended_at', '2 hours');
    expect(await answers(uid, 553)).toBe(true);
    await wholePass();
    // Its input was gone before.
    expect((await api.stored()).files).toBe(files - 1);
    expect(await problemOfTask(api, uid)).toMatchObject({ code: 'OUTPUT_NOT_FOUND' });
    expect(await rowOf(uid)).toMatchObject({ input_blob_id: null, output_blob_id: null });
  });

  it('is kept as long as its model says, if that is less', async () => {
    const [usual, short] = [await finishedTask('copy'), await finishedTask('short')];
    for (const uid of [usual, short]) await setBack(uid, 'ended_at', '2 hours');
    expect(await answers(short, 553)).toBe(true);
    await wholePass();
    expect((await api.call(`/api/tasks/${usual}`, { method: 'HEAD' })).status).toBe(200);
  });

  it('is kept no longer than the server says, whatever its model was granted before', async () => {
    await grant('retention_s');
    const uid = await finishedTask('granted');
    await setBack(uid, 'ended_at', '7 days 1 minute');
    expect(await answers(uid, 553)).toBe(true);
  });

  it('goes a day after it was fetched', async () => {
    const uid = await finishedTask();
    const answer = await api.call(`/api/tasks/${uid}`);
    await answer.arrayBuffer();
    const isNoted = async () => (await rowOf(uid))?.fetched_at !== null;
    expect(await waitUntil(isNoted, everyPass)).toBe(true);
    await setBack(uid, 'fetched_at', '23 hours');
    await wholePass();
    expect((await api.call(`/api/tasks/${uid}`)).status).toBe(200);
    // Another download gives no more time.
    await setBack(uid, 'fetched_at', '2 hours');
    expect(await answers(uid, 553)).toBe(true);
  });

  it('counts as fetched by its owner alone', async () => {
    const uid = await finishedTask();
    const path = `/api/tasks/${uid}`;
    const door = publicApiToken(api.operatorToken);
    const other = await api.call(path, { headers: actingFor('key:other', 'operate') }, door);
    expect([other.status, (await other.arrayBuffer()).byteLength > 0]).toEqual([200, true]);
    await wholePass();
    expect((await rowOf(uid))?.fetched_at).toBeNull();
    await (await api.call(path)).arrayBuffer();
    const isNoted = async () => (await rowOf(uid))?.fetched_at !== null;
    expect(await waitUntil(isNoted, everyPass)).toBe(true);
  });

  it('counts as fetched with its last byte, and with nothing less', async () => {
    const zip = zipOf({ a: 'x'.repeat(50), b: 'y' });
    const uid = await finishedTask('copy', zip);
    const ask = async (headers: Record<string, string>, method = 'GET') => {
      const answer = await api.call(`/api/tasks/${uid}`, { method, headers });
      await answer.arrayBuffer();
      return answer.status;
    };
    const etag = (await api.call(`/api/tasks/${uid}`, { method: 'HEAD' })).headers.get('etag');
    expect(await ask({ 'if-none-match': etag ?? '' })).toBe(304);
    expect(await ask({ range: `bytes=0-${zip.length - 2}` })).toBe(206);
    expect(await ask({ range: `bytes=${zip.length}-` })).toBe(416);
    await wholePass();
    expect((await rowOf(uid))?.fetched_at).toBeNull();
    expect(await ask({ range: `bytes=${zip.length - 1}-` })).toBe(206);
    const isNoted = async () => (await rowOf(uid))?.fetched_at !== null;
    expect(await waitUntil(isNoted, everyPass)).toBe(true);
  });
});

describe('an input', () => {
  it('is kept for its time after the end of the task, not of the post', async () => {
    const uid = await api.postTask('copy');
    await setBack(uid, 'created_at', '5 days');
    const consumer = await claimTask(api, uid);
    await wholePass();
    expect((await consumer.fetch(uid, 'input')).status).toBe(200);
    await consumer.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended, exit_code: 1 });
    await wholePass();
    expect((await rowOf(uid))?.input_blob_id).not.toBeNull();
    await setBack(uid, 'ended_at', '2 hours');
    expect(await isWithoutInput(uid)).toBe(true);
  });

  it('is kept as long as its model says, if that is less', async () => {
    const [usual, short] = [await finishedTask('copy'), await finishedTask('short')];
    for (const uid of [usual, short]) await setBack(uid, 'ended_at', '20 minutes');
    expect(await isWithoutInput(short)).toBe(true);
    await wholePass();
    expect((await rowOf(usual))?.input_blob_id).not.toBeNull();
  });

  it('is kept no longer than the server says, whatever its model was granted before', async () => {
    await grant('input_retention_s');
    const uid = await finishedTask('granted');
    await setBack(uid, 'ended_at', '2 hours');
    expect(await isWithoutInput(uid)).toBe(true);
  });
});

describe('a log', () => {
  it('is kept for its time after the attempt; then 552 has no tail of it', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimTask(api, uid);
    await consumer.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended, exit_code: 1 });
    await wholePass();
    expect(await problemOfTask(api, uid)).toMatchObject({ task: { log_tail: ['one', 'two'] } });
    await setAttemptBack(uid, '31 days');
    const tailOf = async () => (await problemOfTask(api, uid)).task?.log_tail;
    expect(await waitUntil(async () => (await tailOf())?.length === 0, everyPass)).toBe(true);
    expect(await problemOfTask(api, uid)).toMatchObject({
      task: { exit_code: 1, reason: 'exit_code' },
    });
    expect(await logOf(uid)).toMatchObject({ status: 553, code: 'LOG_NOT_FOUND' });
  });

  it('that was removed is not the log of a container that wrote nothing', async () => {
    const [wrote, silent] = [await failedTask('copy', 'one\n'), await failedTask('copy', '')];
    for (const uid of [wrote, silent]) await setAttemptBack(uid, '31 days');
    await wholePass();
    expect(await logOf(wrote)).toEqual({
      status: 553,
      code: 'LOG_NOT_FOUND',
      detail: 'The log of the task is no longer stored.',
    });
    expect(await logOf(silent)).toEqual({ status: 200, text: '' });
  });

  it('is empty while no attempt has ended, and of one that was lost', async () => {
    const uid = await api.postTask('copy');
    expect(await logOf(uid)).toEqual({ status: 200, text: '' });
    await claimTask(api, uid);
    await lapse(uid);
    await setAttemptBack(uid, '31 days');
    await wholePass();
    expect(await logOf(uid)).toEqual({ status: 200, text: '' });
  });

  it('is kept as long as its model says, if that is less', async () => {
    const [usual, short] = [await failedTask('copy', 'a'), await failedTask('short', 'a')];
    for (const uid of [usual, short]) await setAttemptBack(uid, '59 minutes');
    await wholePass();
    expect(await logOf(short)).toEqual({ status: 200, text: 'a' });
    for (const uid of [usual, short]) await setAttemptBack(uid, '2 minutes');
    await wholePass();
    expect(await logOf(short)).toMatchObject({ status: 553 });
    expect(await logOf(usual)).toEqual({ status: 200, text: 'a' });
  });

  it('is kept no longer than the server says, whatever its model was granted before', async () => {
    await grant('log_retention_s');
    const uid = await failedTask('granted', 'a');
    await setAttemptBack(uid, '31 days');
    await wholePass();
    expect(await logOf(uid)).toMatchObject({ status: 553 });
  });
});

async function failedTask(model: string, log: string): Promise<string> {
  const uid = await api.postTask(model);
  const consumer = await claimTask(api, uid);
  const failure = { kind: 'failed', reason: 'exit_code', ...ended, exit_code: 1, log } as const;
  expect(await consumer.settle(uid, failure)).toEqual({ outcome: 'settled' });
  return uid;
}

async function setAttemptBack(uid: string, by: string): Promise<void> {
  await api.database.query(
    `UPDATE attempts SET ended_at = ended_at - $2::interval WHERE task_uid = $1`,
    [uid, by],
  );
}

async function logOf(uid: string) {
  const answer = await api.call(`/api/tasks/${uid}/log`);
  if (answer.status === 200) return { status: 200, text: await answer.text() };
  const { code, detail } = (await answer.json()) as Problem;
  return { status: answer.status, code, detail };
}
