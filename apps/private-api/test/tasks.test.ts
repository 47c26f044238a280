import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import AdmZip from 'adm-zip';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import {
  ended,
  formOf,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';
import { claimTask, problemOfTask, stateOfTask } from './task-helpers.js';

type Body = NonNullable<RequestInit['body']>;

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const postTask = (query: string, body?: Body, headers: Record<string, string> = {}) =>
  api.call(`/api/tasks/?${query}`, { method: 'POST', headers, ...(body ? { body } : {}) });

const stateOf = (uid: string) => stateOfTask(api, uid);
const problemOf = (uid: string, query = '') => problemOfTask(api, uid, query);
const claimed = (uid: string) => claimTask(api, uid);

describe('posting a task', () => {
  it.each([
    ['a form', formOf(['zip_file', zipOf({ a: 'b' })]), {}],
    ['a bare zip', zipOf({ a: 'b' }), { 'content-type': 'application/zip' }],
  ])('takes %s and answers with a bare JSON string', async (_what, body, headers) => {
    const response = await postTask('human_readable_id=copy', body, headers);
    expect(response.status).toBe(200);
    expect(await response.text()).toMatch(/^"[A-Za-z0-9_-]{43}"$/);
  });

  it('knows the old name of the parameter', async () => {
    const form = formOf(['zip_file', zipOf({ a: 'b' })]);
    expect((await postTask('model_human_readable_id=copy', form)).status).toBe(200);
  });

  it('takes a file part without a content type', async () => {
    const zip = zipOf({ a: 'b' });
    const head = '--x\r\nContent-Disposition: form-data; name="zip_file"; filename="i.zip"\r\n\r\n';
    const body = Buffer.concat([Buffer.from(head), zip, Buffer.from('\r\n--x--\r\n')]);
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    expect((await postTask('human_readable_id=copy', body, headers)).status).toBe(200);
  });

  const zip = () => zipOf({ a: 'b' });
  const form = { 'content-type': 'multipart/form-data; boundary=x' };
  const named = 'human_readable_id=copy';
  it.each<[string, string, Body | undefined, Record<string, string>, number, string]>([
    [
      'an unknown model',
      'human_readable_id=nobody',
      formOf(['zip_file', zip()]),
      {},
      550,
      'MODEL_NOT_FOUND',
    ],
    ['no model', '', formOf(['zip_file', zip()]), {}, 422, 'VALIDATION_FAILED'],
    [
      'two names',
      `${named}&model_human_readable_id=other`,
      formOf(['zip_file', zip()]),
      {},
      400,
      'DUPLICATE_PARAMETER',
    ],
    [
      'a name given twice',
      `${named}&${named}`,
      formOf(['zip_file', zip()]),
      {},
      400,
      'DUPLICATE_PARAMETER',
    ],
    ['no body', named, undefined, {}, 422, 'INVALID_FORM'],
    ['no file part', named, formOf(['other', null]), {}, 422, 'INVALID_FORM'],
    ['a text part', named, formOf(['zip_file', null]), {}, 422, 'INVALID_FORM'],
    ['a wrong field name', named, formOf(['zip', zip()]), {}, 422, 'INVALID_FORM'],
    [
      'a field beside the file',
      named,
      formOf(['zip_file', zip()], ['note', null]),
      {},
      422,
      'INVALID_FORM',
    ],
    ['two files', named, formOf(['zip_file', zip()], ['zip_file', zip()]), {}, 422, 'INVALID_FORM'],
    [
      'three files',
      named,
      formOf(['zip_file', zip()], ['b', zip()], ['c', zip()]),
      {},
      422,
      'INVALID_FORM',
    ],
    ['an empty file', named, formOf(['zip_file', '']), {}, 422, 'ZIP_REFUSED'],
    ['text for a zip', named, formOf(['zip_file', 'no zip at all']), {}, 422, 'ZIP_REFUSED'],
    ['a cut zip', named, formOf(['zip_file', zip().subarray(0, 60)]), {}, 422, 'ZIP_REFUSED'],
    [
      'a zip without a file',
      named,
      formOf(['zip_file', new AdmZip().toBuffer()]),
      {},
      422,
      'ZIP_REFUSED',
    ],
    [
      'a form without its end',
      named,
      '--x\r\nContent-Disposition: form-data; name="zip_file"; filename="a"\r\n\r\nabc',
      form,
      400,
      'MALFORMED_REQUEST',
    ],
    [
      'a form without a boundary',
      named,
      'abc',
      { 'content-type': 'multipart/form-data' },
      400,
      'MALFORMED_REQUEST',
    ],
    ['JSON', named, '{}', { 'content-type': 'application/json' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [
      'an unknown content type',
      named,
      'x',
      { 'content-type': 'text/csv' },
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ],
  ])('refuses %s and stores nothing', async (_what, query, body, headers, status, code) => {
    const before = await api.stored();
    const response = await postTask(query, body, headers);
    const problem = (await response.json()) as Problem;
    expect([problem.status, problem.code]).toEqual([status, code]);
    expect(problem.detail.length).toBeGreaterThan(10);
    expect(await api.stored()).toEqual(before);
  });

  it('refuses a zip over the limit, also one that does not say its length', async () => {
    const small = await runPrivateApi({ MAX_UPLOAD_BYTES: 100_000 });
    await small.postModel('copy');
    const before = await small.stored();
    const big = new Blob([new Uint8Array(200_000)]);
    for (const body of [formOf(['zip_file', new Uint8Array(200_000)]), big.stream()]) {
      const response = await small.call('/api/tasks/?human_readable_id=copy', {
        method: 'POST',
        body,
        ...(body instanceof FormData ? {} : { headers: { 'content-type': 'application/zip' } }),
        duplex: 'half',
      });
      expect(await response.json()).toMatchObject({ status: 413, code: 'PAYLOAD_TOO_LARGE' });
    }
    expect(await small.stored()).toEqual(before);
    await small.close();
  });

  it('keeps nothing of an upload that is cut off', async () => {
    const before = await api.stored();
    const { port } = new URL(api.base);
    const socket = createConnection(Number(port), '127.0.0.1');
    socket.write(
      [
        'POST /api/tasks/?human_readable_id=copy HTTP/1.1',
        'Host: x',
        `Authorization: Bearer ${api.operatorToken}`,
        'Content-Type: application/zip',
        'Content-Length: 1000000',
        '',
        'x'.repeat(50_000),
      ].join('\r\n'),
    );
    const begun = async () => ((await api.stored()).blobs ?? 0) > (before.blobs ?? 0);
    expect(await waitUntil(begun, { timeoutMs: 5_000 })).toBe(true);
    socket.destroy();
    const gone = async () => JSON.stringify(await api.stored()) === JSON.stringify(before);
    expect(await waitUntil(gone, { timeoutMs: 5_000 })).toBe(true);
  });
});

describe('getting a task', () => {
  it('says 554 for what is no task, whatever its form', async () => {
    for (const uid of ['x', 'a'.repeat(43), '%3Cb%3E', '..%2F..%2Fetc']) {
      expect(await problemOf(uid)).toMatchObject({ status: 554, code: 'TASK_NOT_FOUND' });
    }
  });

  it('says 551 with state and attempt while it waits, is queued and runs', async () => {
    const uid = await api.postTask('copy');
    const response = await api.call(`/api/tasks/${uid}`);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await response.json()).toMatchObject({
      status: 551,
      code: 'TASK_PENDING',
      task: { attempt: 1 },
    });
    await claimed(uid);
    expect(await problemOf(uid)).toMatchObject({ status: 551, task: { state: 'RUNNING' } });
  });

  it('hands out the output, and the log, once it is finished', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const output = zipOf({ 'result.txt': 'fine' });
    expect(await consumer.finish(uid, output)).toEqual({ outcome: 'settled' });
    const response = await api.call(`/api/tasks/${uid}`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/zip');
    expect(Buffer.from(await response.arrayBuffer()).equals(output)).toBe(true);
    expect(await (await api.call(`/api/tasks/${uid}/log`)).text()).toBe('one\ntwo\n');
  });

  it('says 552 with the reason and the end of the log when the model failed', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const log = `${Array.from({ length: 100 }, (_line, at) => `line ${at}`).join('\n')}\n`;
    await consumer.settle(uid, {
      kind: 'failed',
      reason: 'exit_code',
      detail: 'The container ended with exit code 3.',
      exit_code: 3,
      log,
    });
    const problem = await problemOf(uid);
    expect(problem).toMatchObject({
      status: 552,
      code: 'TASK_FAILED',
      detail: 'The container ended with exit code 3.',
      task: { state: 'FAILED', reason: 'exit_code', exit_code: 3, out_of_memory: false },
    });
    expect(problem.task?.log_tail).toHaveLength(40);
    expect(problem.task?.log_tail?.at(-1)).toBe('line 99');
  });

  it('says 553 when the output is no longer stored', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await consumer.finish(uid, zipOf({ a: 'b' }));
    await api.database.query('UPDATE tasks SET output_blob_id = NULL WHERE uid = $1', [uid]);
    expect(await problemOf(uid)).toMatchObject({ status: 553, code: 'OUTPUT_NOT_FOUND' });
  });

  it('holds the request until the task ends, and is woken by the end', async () => {
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const begun = performance.now();
    const held = api.call(`/api/tasks/${uid}?wait=15`);
    await sleep(300);
    await consumer.finish(uid, zipOf({ a: 'b' }));
    expect((await held).status).toBe(200);
    expect(performance.now() - begun).toBeLessThan(8_000);
  });

  it('notices an end that came while nobody listened to the database', async () => {
    const uid = await api.postTask('copy');
    await claimed(uid);
    const held = problemOf(uid, '?wait=20');
    // Once it listens again it looks again; the state changes in the gap, without a notification.
    await sleep(300);
    await api.database.query(`ALTER TABLE tasks DISABLE TRIGGER tasks_changed`);
    await api.database.query(`UPDATE tasks SET state = 'EXPIRED' WHERE uid = $1`, [uid]);
    await api.database.query(`ALTER TABLE tasks ENABLE TRIGGER tasks_changed`);
    const begun = performance.now();
    await api.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );
    expect(await held).toMatchObject({ status: 552, task: { state: 'EXPIRED' } });
    expect(performance.now() - begun).toBeLessThan(10_000);
  });

  it('holds it no longer than asked', async () => {
    const uid = await api.postTask('copy');
    const begun = performance.now();
    expect(await problemOf(uid, '?wait=0.5')).toMatchObject({ status: 551 });
    expect(performance.now() - begun).toBeGreaterThan(480);
    expect(await problemOf(uid, '?wait=61')).toMatchObject({ status: 422, parameter: 'wait' });
    expect(await problemOf(uid, '?wait=-1')).toMatchObject({ status: 422, parameter: 'wait' });
    expect(await problemOf(uid, '?wait=x')).toMatchObject({ status: 422, parameter: 'wait' });
  });
});

describe('deleting a task', () => {
  const remove = (uid: string) => api.call(`/api/tasks/${uid}`, { method: 'DELETE' });

  it('removes rows and bytes of a finished one; it answers 554 from then on', async () => {
    const before = await api.stored();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    await consumer.finish(uid, zipOf({ a: 'b' }));
    expect((await remove(uid)).status).toBe(200);
    expect(await problemOf(uid)).toMatchObject({ status: 554 });
    expect((await remove(uid)).status).toBe(554);
    expect((await api.call(`/api/tasks/${uid}/log`)).status).toBe(554);
    const after = await api.stored();
    expect([after.blobs, after.files]).toEqual([before.blobs, before.files]);
  });

  it('cancels a running one; its files go with its container', async () => {
    const before = await api.stored();
    const uid = await api.postTask('copy');
    const consumer = await claimed(uid);
    const news = consumer.renew(uid);
    await sleep(200);
    expect((await remove(uid)).status).toBe(200);
    expect(await problemOf(uid)).toMatchObject({ status: 554 });
    expect(await news).toMatchObject({ outcome: 'renewed', cancel_requested: true });
    expect((await consumer.fetch(uid, 'input')).status).toBe(200);
    expect(await consumer.finish(uid, zipOf({ a: 'b' }))).toEqual({ outcome: 'cancel_requested' });
    expect(await consumer.settle(uid, { kind: 'cancelled', ...ended })).toEqual({
      outcome: 'settled',
    });
    expect(await stateOf(uid)).toMatchObject({ state: 'CANCELLED' });
    const after = await api.stored();
    expect([after.blobs, after.files]).toEqual([before.blobs, before.files]);
  });

  it('wakes a held request', async () => {
    const uid = await api.postTask('copy');
    const held = problemOf(uid, '?wait=15');
    await sleep(200);
    await remove(uid);
    expect(await held).toMatchObject({ status: 554 });
  });
});
