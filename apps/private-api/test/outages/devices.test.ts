import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import { deviceIsTaken } from '../../src/modules/attempts/held-attempt.js';
import { runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';

let api: RunningPrivateApi;
let count = 0;
let gpu: string;
let slice: string;
let other: string;

beforeAll(async () => {
  api = await runPrivateApi();
});
afterAll(() => api.close());
beforeEach(() => {
  const end = `0000-4000-8000-${String((count += 1)).padStart(12, '0')}`;
  gpu = `GPU-11111111-${end}`;
  slice = `MIG-22222222-${end}`;
  other = `MIG-33333333-${end}`;
});

interface Named {
  uuid: string;
  gpu_uuid?: string;
}
/** Names of devices, made for each test. */
type Names = () => Named;

const whole: Names = () => ({ uuid: gpu });
const wholeByCdi: Names = () => ({ uuid: `nvidia.com/gpu=${gpu}` });
const part: Names = () => ({ uuid: slice, gpu_uuid: gpu });
const partByCdi: Names = () => ({ uuid: `nvidia.com/gpu=${slice}`, gpu_uuid: gpu });
const partUnknown: Names = () => ({ uuid: slice });
const otherPart: Names = () => ({ uuid: other, gpu_uuid: gpu });
const oldPart: Names = () => ({ uuid: `MIG-${gpu}/1/0`, gpu_uuid: gpu });
const numbered: Names = () => ({ uuid: 'nvidia.com/gpu=0' });

const register = (id: string, { uuid, gpu_uuid }: Named, holder = id) =>
  api.consumer(`${id}${count}`, holder).register({
    device: {
      ...{ uuid, name: null, memory_mib: null, driver: null },
      ...(gpu_uuid !== undefined && { gpu_uuid }),
    },
  });

it.each<[string, Names, Names]>([
  ['the same', whole, whole],
  ['the same, by its CDI name', whole, wholeByCdi],
  ['the same, by its UUID', wholeByCdi, whole],
  ['the same slice, by its CDI name', part, partByCdi],
  ['the same slice, of which the other does not know the GPU', partUnknown, part],
  ['a slice of it', whole, part],
  ['a slice of it, by CDI names', wholeByCdi, partByCdi],
  ['the GPU that it is a slice of', part, wholeByCdi],
  ['the GPU that it is a slice of, by an old name', oldPart, whole],
])('one process at a time has a device: %s', async (_what, first, second) => {
  await register('first', first());
  const refused = register('second', second());
  await expect(refused).rejects.toThrow(/409.*DEVICE_TAKEN/);
  await expect(refused).rejects.toThrow(`first${count}`);
  // Whoever has it keeps it.
  await register('first', first());
  await api.consumer(`first${count}`, 'first').signOff();
  await register('second', second());
  await expect(register('first', first())).rejects.toThrow(/409.*DEVICE_TAKEN/);
});

it.each<[string, Names, Names]>([
  ['another slice of the same GPU', part, otherPart],
  // Of which GPU of which host nobody knows.
  ['a number', numbered, numbered],
])('another is let in with %s', async (_what, first, second) => {
  await register('first', first());
  await register('second', second());
});

const silence = (id: string) =>
  api.database.query(
    `UPDATE consumers SET heartbeat_at = now() - interval '1 hour' WHERE id = $1`,
    [`${id}${count}`],
  );

it('a process of which nothing is heard has its device no more', async () => {
  await register('first', whole());
  await silence('first');
  await register('second', part());
  await expect(register('first', whole())).rejects.toThrow('DEVICE_TAKEN');
});

it('a process of which nothing is heard has its device as long as a task of its may run on it', async () => {
  await api.postModel(`runs-${count}`);
  const uid = await api.postTask(`runs-${count}`);
  const move = (state: string, consumers: { consumer_id: string; lenders: string[] }) =>
    api.database.query(
      `UPDATE tasks SET state = $2::task_state, consumer_id = $3, lenders = $4 WHERE uid = $1`,
      [uid, state, consumers.consumer_id, consumers.lenders],
    );
  await register('first', whole());
  await api.consumer(`first${count}`, 'first').signOff();
  const first = `first${count}`;
  for (const holders of [
    { consumer_id: first, lenders: [] },
    { consumer_id: 'elsewhere', lenders: [first] },
  ]) {
    await move('RUNNING', holders);
    await expect(register('second', whole())).rejects.toThrow(/409.*DEVICE_TAKEN/);
  }
  await move('FINISHED', { consumer_id: first, lenders: [] });
  await register('second', whole());
});

it('of two that come together one is let in', async () => {
  const answers = await Promise.allSettled(
    Array.from({ length: 8 }, (_, at) => register(`racer-${at}-`, at % 2 === 0 ? whole() : part())),
  );
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

describe('a consumer whose device another has taken while it was silent', () => {
  it('claims nothing, and its tickets are back', async () => {
    await register('first', whole());
    const first = api.consumer(`first${count}`, 'first');
    const uid = await ticketFor('first');
    await silence('first');
    await register('second', whole());
    expect(await stateOf(uid)).toMatchObject({ state: 'PENDING' });
    await api.database.query(`UPDATE tasks SET state = 'QUEUED', consumer_id = $2 WHERE uid = $1`, [
      uid,
      `first${count}`,
    ]);
    expect(await first.claim(uid)).toMatchObject({ outcome: 'refused' });
  });

  it('takes no attempt up again that has lapsed', async () => {
    const { uid, first } = await lapsedAttempt();
    await silence('first');
    await register('second', whole());
    expect(await first.renew(uid)).not.toMatchObject({ outcome: 'renewed' });
    expect(await stateOf(uid)).toEqual({ state: 'PENDING', attempt: 2 });
    // As it does where nobody has the device.
    await api.consumer(`second${count}`, 'second').signOff();
    await register('first', whole());
    expect(await first.renew(uid)).toMatchObject({ outcome: 'renewed' });
    expect(await stateOf(uid)).toEqual({ state: 'RUNNING', attempt: 1 });
  });

  it.each(['before', 'after'])('takes none up, nor has one that signed off %s', async (when) => {
    const { uid, first } = await lapsedAttempt();
    if (when === 'before') await first.signOff();
    await silence('first');
    await register('second', whole());
    if (when === 'after') await first.signOff();
    expect(await first.renew(uid)).not.toMatchObject({ outcome: 'renewed' });
  });

  it('waits for one that is taking it before it takes anything up', async () => {
    const { uid, first } = await lapsedAttempt();
    const taking = new pg.Client({ connectionString: api.database.url });
    await taking.connect();
    try {
      await taking.query('BEGIN');
      const { rows } = await taking.query<{ pid: number }>(
        'SELECT pg_backend_pid() AS pid FROM consumers WHERE id = $1 FOR UPDATE',
        [`first${count}`],
      );
      const renewing = first.renew(uid);
      const isWaiting = async () => {
        const waiting = await api.database.query(
          `SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))`,
          [rows[0]?.pid],
        );
        return waiting.length > 0;
      };
      expect(await waitUntil(isWaiting, { timeoutMs: 5_000 })).toBe(true);
      await taking.query(`UPDATE consumers SET state = 'gone', reason = $2 WHERE id = $1`, [
        `first${count}`,
        deviceIsTaken,
      ]);
      await taking.query('COMMIT');
      expect(await renewing).not.toMatchObject({ outcome: 'renewed' });
    } finally {
      await taking.end();
    }
    expect(await stateOf(uid)).toEqual({ state: 'PENDING', attempt: 2 });
  });
});

it('who has signed off takes a lapsed attempt up again, to park or settle it', async () => {
  const { uid, first } = await lapsedAttempt();
  await first.signOff();
  expect(await first.renew(uid)).toMatchObject({ outcome: 'renewed' });
});

const stateOf = async (uid: string) => {
  const [row] = await api.database.query<{ state: string; attempt: number }>(
    'SELECT state, attempt FROM tasks WHERE uid = $1',
    [uid],
  );
  return row;
};
const ticketFor = async (id: string): Promise<string> => {
  await api.postModel(`taken-${id}${count}`);
  const uid = await api.postTask(`taken-${id}${count}`);
  await api.database.query(`UPDATE tasks SET state = 'QUEUED', consumer_id = $2 WHERE uid = $1`, [
    uid,
    `${id}${count}`,
  ]);
  return uid;
};

/** Of `first`, which has the device. */
async function lapsedAttempt() {
  await register('first', whole());
  const first = api.consumer(`first${count}`, 'first');
  const uid = await ticketFor('first');
  expect(await first.claim(uid)).toMatchObject({ outcome: 'won' });
  await api.database.query(
    `UPDATE attempts SET ended_at = now(), outcome = 'lost' WHERE task_uid = $1`,
    [uid],
  );
  await api.database.query(
    `UPDATE tasks SET state = 'PENDING', attempt = 2, not_before = now() + interval '1 hour' WHERE uid = $1`,
    [uid],
  );
  return { uid, first };
}
