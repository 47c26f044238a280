import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import type { AttemptResult, Problem } from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { rawExchange, waitUntil } from '@inference-server/testing';
import { gpu } from './capacities.js';
import {
  actingFor,
  ended,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { stateOfTask } from './task-helpers.js';

const opened: RunningPrivateApi[] = [];
afterEach(async () => {
  for (const api of opened.splice(0)) await api.close();
});

type Method = 'POST' | 'PUT' | 'DELETE';

async function start(limits: Parameters<typeof runPrivateApi>[0]) {
  const api = await runPrivateApi(limits);
  opened.push(api);
  await api.postModel('copy');
  const ask = (
    owner: string,
    method: Method,
    path: string,
    { body, headers = {} }: { body?: RequestInit['body']; headers?: Record<string, string> } = {},
  ) =>
    api.call(
      path,
      {
        method,
        body: body ?? null,
        ...(body instanceof ReadableStream && { duplex: 'half' }),
        headers: {
          ...(body !== undefined && { 'content-type': 'application/zip' }),
          ...actingFor(owner, 'publish'),
          ...headers,
        },
      },
      publicApiToken(api.operatorToken),
    );
  const post = (owner: string, body: RequestInit['body'] = zip, headers = {}) =>
    ask(owner, 'POST', '/api/tasks/?human_readable_id=copy', { body, headers });
  return { api, ask, post };
}

const zip = zipOf({ a: 'b' });
/** Of some 50 KB, which nothing makes smaller. */
const large = zipOf({ a: randomBytes(37_500).toString('base64') });

async function refusalOf(answer: Response) {
  const problem = (await answer.json()) as Problem;
  expect({ status: answer.status, code: problem.code }).toEqual({
    status: 403,
    code: 'QUOTA_EXCEEDED',
  });
  return problem;
}
const uidOf = async (answer: Response) => {
  expect(answer.status).toBe(200);
  return (await answer.json()) as string;
};

describe('what an owner has stored', () => {
  const MAX_STORED_BYTES_PER_OWNER = 3 * large.length + 1_000;

  it('is limited, told in body and headers, and there is room again when something is deleted', async () => {
    const { api, ask, post } = await start({ MAX_STORED_BYTES_PER_OWNER });
    const [first] = [
      await uidOf(await post('key:a', large)),
      await uidOf(await post('key:a', large)),
    ];
    await uidOf(await post('key:a', large));
    const before = await api.stored();
    const refused = await post('key:a', large);
    const used = 3 * large.length;
    expect(refused.headers.get('ratelimit-policy')).toBe(
      `"stored-bytes";q=${MAX_STORED_BYTES_PER_OWNER};qu="content-bytes"`,
    );
    expect(refused.headers.get('ratelimit')).toBe('"stored-bytes";r=1000');
    expect(refused.headers.has('retry-after')).toBe(false);
    expect((await refusalOf(refused)).quota).toEqual({
      ...{ policy: 'stored-bytes', unit: 'content-bytes' },
      ...{ limit: MAX_STORED_BYTES_PER_OWNER, used, window_s: null, reset_s: null },
    });
    expect(await api.stored()).toEqual(before);
    // What fits is let in, and so are others, and the operator.
    await uidOf(await post('key:a'));
    await uidOf(await post('key:b', large));
    for (let at = 0; at < 4; at += 1) await api.postTask('copy', large);
    await ask('key:a', 'DELETE', `/api/tasks/${first}`);
    const fits = async () => (await post('key:a', large)).status === 200;
    expect(await waitUntil(fits, { timeoutMs: 5_000 })).toBe(true);
  });

  it('is looked at before a byte of a body is asked for whose length is declared', async () => {
    const { api } = await start({ MAX_STORED_BYTES_PER_OWNER });
    const caller = Object.entries(actingFor('key:a')).map(([name, value]) => `${name}: ${value}`);
    const { answers, heard } = await rawExchange(
      Number(new URL(api.base).port),
      [
        [
          'POST /api/tasks/?human_readable_id=copy HTTP/1.1',
          'Host: localhost',
          `Authorization: Bearer ${publicApiToken(api.operatorToken)}`,
          ...caller,
          'Content-Type: application/zip',
          `Content-Length: ${MAX_STORED_BYTES_PER_OWNER + 1}`,
          'Expect: 100-continue',
          '\r\n',
        ].join('\r\n'),
        { awaiting: /100 Continue|QUOTA_EXCEEDED/ },
        { then: 'close' },
      ],
      { expected: 1 },
    );
    expect(answers).toMatchObject([{ status: 403, code: 'QUOTA_EXCEEDED' }]);
    expect(heard).not.toContain('100 Continue');
  });

  it('is looked at again when a body of unknown length is there', async () => {
    const { api, post } = await start({ MAX_STORED_BYTES_PER_OWNER: large.length - 1 });
    const before = await api.stored();
    const stream = Readable.toWeb(Readable.from([large])) as ReadableStream;
    expect((await refusalOf(await post('key:a', stream))).quota?.used).toBe(0);
    expect(await api.stored()).toEqual(before);
  });

  it('counts the files of models and the outputs of tasks, which are kept all the same', async () => {
    const { api, ask, post } = await start({ MAX_STORED_BYTES_PER_OWNER });
    const files = (id: string, method: Method = 'POST') =>
      ask(
        'key:a',
        method,
        method === 'PUT'
          ? `/api/models/${id}?container_tag=b:1&model_available=true`
          : `/api/models/?container_tag=b:1&human_readable_id=${id}&model_available=true`,
        { body: large },
      );
    expect((await files('one')).status).toBe(200);
    const uid = await uidOf(await post('key:a', large));
    const consumer = api.consumer('c1');
    await consumer.register({ slots: 10 });
    const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
    expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
    await consumer.claim(uid);
    expect(await consumer.finish(uid, zipOf({ b: large.toString('base64') }))).toEqual({
      outcome: 'settled',
    });
    const isFull = async () => (await post('key:a', large)).status === 403;
    expect(await waitUntil(isFull, { timeoutMs: 5_000 })).toBe(true);
    await refusalOf(await files('two'));
    await refusalOf(await files('one', 'PUT'));
    // Without files there is nothing to store.
    const bare = '/api/models/?container_tag=b:1&human_readable_id=three';
    expect((await ask('key:a', 'POST', bare)).status).toBe(200);
    expect((await api.call(`/api/tasks/${uid}`)).status).toBe(200);
  });

  it('is seen by every process, and keeps no post from its uid that was made before', async () => {
    const { api, post } = await start({ MAX_STORED_BYTES_PER_OWNER });
    const second = await runPrivateApi({ ...api.config, PORT: 0 });
    opened.push(second);
    const key = { 'idempotency-key': 'k' };
    const uid = await uidOf(await post('key:a', large, key));
    for (let at = 0; at < 2; at += 1) await uidOf(await post('key:a', large));
    const there = await second.call(
      '/api/tasks/?human_readable_id=copy',
      {
        method: 'POST',
        body: large,
        headers: { 'content-type': 'application/zip', ...actingFor('key:a') },
      },
      publicApiToken(second.operatorToken),
    );
    await refusalOf(there);
    expect(await uidOf(await post('key:a', large, key))).toBe(uid);
  });
});

describe('the GPU seconds of an owner', () => {
  const usage = {
    ...{ samples: 1, run_s: 60, cpu_s: 1, memory_peak_mib: 1 },
    ...{ read_bytes: 0, written_bytes: 0, gpu_s: 60 },
  };
  const failed: AttemptResult = { ...ended, kind: 'failed', reason: 'exit_code', usage };

  it('of a day are limited, told with the end of the day; faults of ours count for nobody', async () => {
    const { api, ask, post } = await start({ MAX_DAILY_GPU_S_PER_OWNER: 100 });
    await api.postModel('gpu', '&use_gpu=true');
    const consumer = api.consumer('g');
    await consumer.register({ device: gpu(16_384).device, slots: 1 });
    const postGpu = (owner: string) =>
      ask(owner, 'POST', '/api/tasks/?human_readable_id=gpu', { body: zip });
    const run = async (owner: string, result: AttemptResult) => {
      const uid = await uidOf(await postGpu(owner));
      const isQueued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
      expect(await waitUntil(isQueued, { timeoutMs: 10_000 })).toBe(true);
      await consumer.claim(uid);
      expect(await consumer.settle(uid, result)).toEqual({ outcome: 'settled' });
      return uid;
    };
    const faulty = await run('key:a', { ...ended, kind: 'fault', cause: 'disk_full', usage });
    await ask('key:a', 'DELETE', `/api/tasks/${faulty}`);
    await run('key:a', failed);
    await run('key:a', failed);
    const [use] = await api.database.query('SELECT owner, gpu_s FROM gpu_use');
    expect(use).toEqual({ owner: 'key:a', gpu_s: 120 });

    const refused = await postGpu('key:a');
    const [clock] = await api.database.query<{ left: number }>(
      `SELECT 86400 - extract(epoch FROM now() AT TIME ZONE 'UTC')::int % 86400 AS left`,
    );
    const resetS = Number(refused.headers.get('retry-after'));
    expect(Math.abs(resetS - (clock?.left ?? 0))).toBeLessThan(10);
    expect(refused.headers.get('ratelimit-policy')).toBe(
      '"gpu-seconds-per-day";q=100;qu="gpu-seconds";w=86400',
    );
    expect(refused.headers.get('ratelimit')).toBe(`"gpu-seconds-per-day";r=0;t=${resetS}`);
    expect((await refusalOf(refused)).quota).toMatchObject({ limit: 100, used: 120 });
    // Without a GPU, by others, by the operator, and tomorrow.
    await uidOf(await post('key:a'));
    await uidOf(await postGpu('key:b'));
    await api.postTask('gpu');
    await api.database.query(`UPDATE gpu_use SET day = day - 1`);
    await uidOf(await postGpu('key:a'));
  });
});
