import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import {
  ended,
  finished,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { claimTask } from './task-helpers.js';

const abandonedAfterS = 0.6;

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({
    ABANDONED_AFTER_S: abandonedAfterS,
    SWEEP_INTERVAL_S: 0.05,
    STORAGE_SWEEP_INTERVAL_S: 0.05,
    ORPHANED_AFTER_S: abandonedAfterS,
  });
  await api.postModel('copy');
});
afterAll(() => api.close());

const zip = zipOf({ a: 'x'.repeat(10_000) });
const boundary = 'x';
const formHead = `--${boundary}\r\nContent-Disposition: form-data; name="zip_file"; filename="a"\r\n\r\n`;
const formEnd = `\r\n--${boundary}--\r\n`;

interface SlowUpload {
  http: ClientRequest;
  answered: Promise<IncomingMessage>;
}

/** An upload that has sent `first`, and sends the rest when it is told. */
function begin(
  method: string,
  path: string,
  type: string,
  token: string,
  first: Buffer,
): SlowUpload {
  const headers = { authorization: `Bearer ${token}`, 'content-type': type };
  const http = request(`${api.base}${path}`, { method, headers });
  const answered = once(http, 'response').then(([answer]) => answer as IncomingMessage);
  http.write(first);
  return { http, answered };
}

/** When so many blobs have been pending for several times as long as a dead upload may. */
const pendingForLong = (count: number) =>
  waitUntil(
    async () => {
      const rows = await api.database.query(
        `SELECT id FROM blobs WHERE state = 'pending'
            AND created_at < now() - $1 * interval '1 second'`,
        [4 * abandonedAfterS],
      );
      return rows.length === count;
    },
    { timeoutMs: 15_000 },
  );

it('uploads that take long are not taken for abandoned, whatever part of them is slow', async () => {
  const post = '/api/tasks/?human_readable_id=copy';
  const form = `multipart/form-data; boundary=${boundary}`;
  const whole = Buffer.concat([Buffer.from(formHead), zip]);
  const uid = await api.postTask('copy');
  const consumer = await claimTask(api, uid);
  const lease = `epoch=1&holder=${consumer.holder}`;
  const output = `/internal/attempts/${uid}/1/output?${lease}`;
  const half = zip.subarray(0, 5_000);
  const rest = zip.subarray(5_000);
  const uploads: [SlowUpload, rest: Buffer][] = [
    [begin('POST', post, 'application/zip', api.operatorToken, half), rest],
    [begin('POST', post, 'application/zip', api.operatorToken, half), rest],
    // All of the zip is stored, its task is not: the end of the form is on its way.
    [begin('POST', post, form, api.operatorToken, whole), Buffer.from(formEnd)],
    [begin('PUT', output, 'application/zip', consumer.token, half), rest],
  ];
  expect(await pendingForLong(uploads.length)).toBe(true);
  for (const [{ http }, rest] of uploads) http.end(rest);
  const answers = await Promise.all(uploads.map(([{ answered }]) => answered));
  expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
  const bodies = await Promise.all(answers.map((answer) => json(answer)));

  // The output waits for its settlement, however long that takes.
  expect(await pendingForLong(1)).toBe(true);
  const { sha256 } = bodies[3] as { sha256: string };
  expect(await consumer.settle(uid, finished(sha256))).toEqual({ outcome: 'settled' });
  const got = await (await api.call(`/api/tasks/${uid}`)).arrayBuffer();
  expect(Buffer.from(got).equals(zip)).toBe(true);
  for (const posted of bodies.slice(0, 3) as string[]) {
    const inputs = await claimTask(api, posted);
    const input = await (await inputs.fetch(posted, 'input')).arrayBuffer();
    expect(Buffer.from(input).equals(zip)).toBe(true);
    await inputs.settle(posted, { kind: 'failed', reason: 'exit_code', ...ended });
  }
});
