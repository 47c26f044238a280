import AdmZip from 'adm-zip';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import {
  ended,
  finished,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { claimTask, problemOfTask, stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const stateOf = (uid: string) => stateOfTask(api, uid);
const claimed = (uid: string) => claimTask(api, uid);

describe('the rules of an attempt', () => {
  it('only the consumer that was sent the ticket can claim, and asking again is the same', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won', epoch: 1 });
    const successor = api.consumer('c1', 'another process');
    expect(await successor.claim(uid)).toMatchObject({ outcome: 'refused' });
    expect(await api.consumer('c2').claim(uid)).toMatchObject({ outcome: 'refused' });
    expect(await consumer.claim(uid, 2)).toMatchObject({ outcome: 'refused' });
  });

  it('is taken up under the next epoch also by the process that claimed it, once', async () => {
    const uid = await api.postTask('copy');
    const own = await claimed(uid);
    const won = await own.adopt(uid);
    expect(won).toMatchObject({ outcome: 'won', epoch: 2 });
    expect(await own.adopt(uid)).toEqual(won);
    // A ticket that comes again would have it staged anew.
    expect(await own.claim(uid)).toMatchObject({ outcome: 'refused' });
    expect(await own.renew(uid)).toEqual({ outcome: 'adopted' });
    const released = { kind: 'released', ...ended } as const;
    expect(await own.settle(uid, released, 1, 2)).toEqual({ outcome: 'settled' });
  });

  it('a ticket that was sent to another consumer is refused', async () => {
    const uid = await api.postTask('copy');
    const addressee = api.consumer('c1');
    await addressee.register({ slots: 1000 });
    const queued = async () => (await stateOf(uid))?.state === 'QUEUED';
    expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
    const thief = api.consumer('thief');
    await thief.register({ state: 'quarantined' });
    expect(await thief.claim(uid)).toMatchObject({ outcome: 'refused' });
    expect(await addressee.claim(uid)).toMatchObject({ outcome: 'won' });
  });

  it('gives the input to the holder of the lease and to nobody else', async () => {
    const uid = await api.postTask('copy', zipOf({ 'in.txt': 'mine' }));
    const consumer = await claimed(uid);
    const input = await consumer.fetch(uid, 'input');
    expect(new AdmZip(Buffer.from(await input.arrayBuffer())).readAsText('in.txt')).toBe('mine');
    expect((await consumer.fetch(uid, 'model-files')).status).toBe(404);
    expect((await api.consumer('c1', 'another process').fetch(uid, 'input')).status).toBe(409);
  });

  it('settles once: again it is the same answer, and another result changes nothing', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    expect(await consumer.finish(uid, zipOf({ a: '1' }))).toEqual({ outcome: 'settled' });
    expect(await consumer.settle(uid, finished('0'.repeat(64)))).toEqual({ outcome: 'settled' });
    const failed = { kind: 'failed', reason: 'exit_code', ...ended } as const;
    expect(await consumer.settle(uid, failed)).toEqual({ outcome: 'superseded' });
    expect((await api.call(`/api/tasks/${uid}`)).status).toBe(200);
  });

  it('replaces an output that is uploaded again, and keeps one', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const before = await api.stored();
    await consumer.putOutput(uid, zipOf({ a: 'first' }));
    const second = zipOf({ a: 'second' });
    await consumer.finish(uid, second);
    expect((await api.stored()).files).toBe(before.files + 1);
    const got = await (await api.call(`/api/tasks/${uid}`)).arrayBuffer();
    expect(Buffer.from(got).equals(second)).toBe(true);
  });

  it('holds outputs against the rules for zips, but lets them be empty and pack well', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const before = await api.stored();
    // The library tidies names up: this one is as long.
    const badZip = Buffer.from(zipOf({ 'xx/a': 'x' }));
    badZip.write('..', badZip.indexOf('xx/a'));
    badZip.write('..', badZip.indexOf('xx/a'));
    const refused = await consumer.putOutput(uid, badZip);
    expect(refused.status).toBe(422);
    expect(await refused.json()).toMatchObject({
      code: 'ZIP_REFUSED',
      reason: 'traversal',
      entry: 1,
    });
    expect(await api.stored()).toEqual(before);
    expect((await consumer.putOutput(uid, zipOf({}))).status).toBe(200);
    const zeros = zipOf({ mask: '\0'.repeat(100 * 2 ** 20) });
    expect(zeros.length * 200).toBeLessThan(100 * 2 ** 20);
    expect((await consumer.putOutput(uid, zeros)).status).toBe(200);
  });

  it('refuses a settlement that names an output that is not there', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await expect(consumer.settle(uid, finished('0'.repeat(64)))).rejects.toThrow(/409/);
    await consumer.putOutput(uid, zipOf({ a: 'another' }));
    await expect(consumer.settle(uid, finished('0'.repeat(64)))).rejects.toThrow(/409/);
    expect(await stateOf(uid)).toMatchObject({ state: 'RUNNING' });
  });

  it('gives another attempt after a fault, at most three, and never for a released one', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await consumer.settle(uid, { kind: 'released', ...ended });
    for (const attempt of [2, 3, 4]) {
      const queued = async () => {
        const row = await stateOf(uid);
        return row?.state === 'QUEUED' && row.attempt === attempt;
      };
      expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
      // A ticket that comes late is of no use.
      expect(await consumer.claim(uid, attempt - 1)).toMatchObject({ outcome: 'refused' });
      await consumer.claim(uid, attempt);
      await consumer.settle(
        uid,
        {
          kind: 'fault',
          cause: 'consumer_restarted',
          ...ended,
          detail: 'Unheard of: /run/secret.',
        },
        attempt,
      );
    }
    expect(await problemOfTask(api, uid)).toMatchObject({
      status: 552,
      detail:
        'The task was given up after 4 attempts that met faults of the server. The last: The consumer ended before the container ran.',
      task: {
        state: 'FAILED',
        reason: 'consumer_restarted',
        attempt: 4,
        attempts: [
          { number: 1, consumer: 'c1', outcome: 'released', reason: null },
          ...[2, 3, 4].map((number) => ({
            number,
            consumer: 'c1',
            outcome: 'fault',
            reason: 'consumer_restarted',
          })),
        ],
      },
    });
  });

  it("keeps a registry's words, which tell of addresses, from who posted the task", async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const detail = 'The image a:1 cannot be had: dial tcp 10.1.2.3:5000: connection refused';
    const reason = 'image_unavailable';
    await consumer.settle(uid, { kind: 'failed', reason, ...ended, exit_code: null, detail });
    const problem = await problemOfTask(api, uid);
    expect(problem).toMatchObject({
      status: 552,
      detail: 'The image of the model cannot be had.',
      task: { reason },
    });
    const [row] = await api.database.query('SELECT detail FROM attempts WHERE task_uid = $1', [
      uid,
    ]);
    expect(row).toEqual({ detail });
  });

  it('keeps what a container has used, and tells it with its attempt', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const usage = {
      ...{ samples: 3, run_s: 2.5, cpu_s: 1.25, memory_peak_mib: 12 },
      ...{ read_bytes: 4096, written_bytes: 2 ** 40, gpu_s: 0 },
    };
    const attemptsOf = async () => {
      const status = await api.call(`/api/tasks/${uid}/status`);
      return ((await status.json()) as { attempts: { usage: unknown }[] }).attempts;
    };
    expect(await attemptsOf()).toMatchObject([{ usage: null }]);
    await consumer.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended, usage });
    expect(await attemptsOf()).toMatchObject([{ usage }]);
    const problem = await problemOfTask(api, uid);
    expect(problem.task).toMatchObject({ attempts: [{ usage }] });
  });
});
