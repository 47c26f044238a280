import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { rawExchange } from '@inference-server/testing';
import {
  actingFor,
  formOf,
  runPrivateApi,
  zipOf,
  type RunningPrivateApi,
} from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
  await api.postModel('other');
});
afterAll(() => api.close());

const zip = zipOf({ a: 'b' });

const post = (
  key: string | undefined,
  {
    model = 'copy',
    body = zip as NonNullable<RequestInit['body']>,
    owner = undefined as string | undefined,
  } = {},
) =>
  api.call(
    `/api/tasks/?human_readable_id=${model}`,
    {
      method: 'POST',
      body,
      headers: {
        ...(body === zip ? { 'content-type': 'application/zip' } : {}),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
        ...(owner === undefined ? {} : actingFor(owner)),
      },
    },
    owner === undefined ? undefined : publicApiToken(api.operatorToken),
  );
const uidOf = async (answer: Response) => {
  expect(answer.status).toBe(200);
  return (await answer.json()) as string;
};
const problemOf = async (answer: Response) => (await answer.json()) as Problem;

describe('a post with an Idempotency-Key', () => {
  it('that is repeated gives the same uid and leaves nothing more', async () => {
    const uid = await uidOf(await post('again'));
    const before = await api.stored();
    expect(await uidOf(await post('again'))).toBe(uid);
    // The other way of sending the same zip.
    expect(await uidOf(await post('again', { body: formOf(['zip_file', zip]) }))).toBe(uid);
    expect(await api.stored()).toEqual(before);
  });

  it('makes one task when it comes many times at once', async () => {
    const before = await api.stored();
    const uids = await Promise.all(
      Array.from({ length: 8 }, async () => uidOf(await post('at once'))),
    );
    expect(new Set(uids).size).toBe(1);
    expect(await api.stored()).toEqual({
      ...before,
      tasks: before.tasks! + 1,
      blobs: before.blobs! + 1,
      files: before.files + 1,
    });
  });

  it('of another body or model is refused, and leaves nothing', async () => {
    await uidOf(await post('mine'));
    const before = await api.stored();
    const other = zipOf({ another: 'zip' });
    for (const refused of [
      await post('mine', { model: 'other' }),
      await post('mine', { body: formOf(['zip_file', other]) }),
    ]) {
      expect(refused.status).toBe(409);
      expect(await problemOf(refused)).toMatchObject({
        code: 'IDEMPOTENCY_KEY_REUSED',
        parameter: 'idempotency-key',
      });
    }
    expect(await api.stored()).toEqual(before);
  });

  it('of a caller without credentials is that of the address, so that nobody else learns a uid by it', async () => {
    const body = zipOf({ of: 'nobody' });
    const from = async (address: string) =>
      uidOf(
        await api.call(
          '/api/tasks/?human_readable_id=copy',
          {
            method: 'POST',
            body,
            headers: {
              'content-type': 'application/zip',
              'idempotency-key': 'nobody',
              ...actingFor('anonymous', 'submit', address),
            },
          },
          publicApiToken(api.operatorToken),
        ),
      );
    const uid = await from('127.0.0.1');
    expect(await from('127.0.0.1')).toBe(uid);
    expect(await from('::ffff:127.0.0.1')).toBe(uid);
    expect(await from('192.0.2.2')).not.toBe(uid);
  });

  it('is its owner’s: the same key of another makes a task of its own', async () => {
    const uids = [
      await uidOf(await post('shared', { owner: 'a' })),
      await uidOf(await post('shared', { owner: 'b' })),
      await uidOf(await post('shared')),
    ];
    expect(new Set(uids).size).toBe(3);
    expect(await uidOf(await post('shared', { owner: 'b' }))).toBe(uids[1]);
    const rows = await api.database.query<{ owner: string }>(
      'SELECT owner FROM tasks WHERE uid = ANY($1) ORDER BY seq',
      [uids],
    );
    expect(rows.map(({ owner }) => owner)).toEqual(['a', 'b', 'operator']);
  });

  it('may have any key of 255 bytes, and after 24 hours it is free again', async () => {
    const key = `é"\\${'k'.repeat(252)}`;
    const uid = await uidOf(await post(key));
    expect(await uidOf(await post(key))).toBe(uid);
    const setBack = (by: string) =>
      api.database.query(
        `UPDATE idempotency_keys SET created_at = created_at - $2::interval WHERE task_uid = $1`,
        [uid, by],
      );
    await setBack('23 hours 59 minutes');
    expect(await uidOf(await post(key))).toBe(uid);
    await setBack('1 minute');
    const later = await uidOf(await post(key));
    expect(later).not.toBe(uid);
    expect(await uidOf(await post(key))).toBe(later);
  });

  it('is free again when the post was refused', async () => {
    const answers = [
      await post('failed', { body: formOf(['zip_file', 'no zip']) }),
      await post('failed', { model: 'unknown' }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([422, 550]);
    await uidOf(await post('failed'));
  });

  it('stands for its task also when the model is deleted, or is no more what it was', async () => {
    await api.postModel('changing');
    const uid = await uidOf(await post('changing', { model: 'changing' }));
    const next = await api.call('/api/models/changing?container_tag=other:2', { method: 'PUT' });
    expect(next.status).toBe(200);
    expect(await uidOf(await post('changing', { model: 'changing' }))).toBe(uid);
    await api.call('/api/models/changing', { method: 'DELETE' });
    expect(await uidOf(await post('changing', { model: 'changing' }))).toBe(uid);
    const other = await post('changed', { model: 'changing' });
    expect(other.status).toBe(550);
  });

  it('stands for its task also when the task is deleted', async () => {
    const uid = await uidOf(await post('deleted'));
    await api.call(`/api/tasks/${uid}`, { method: 'DELETE' });
    expect(await uidOf(await post('deleted'))).toBe(uid);
  });

  it.each([
    ['too long', 'k'.repeat(256), 422],
    ['empty', '', 422],
    ['with a tab in it', 'a\tb', 422],
  ])('that is %s is refused', async (_what, key, status) => {
    const refused = await post(key);
    expect(refused.status).toBe(status);
    expect(await problemOf(refused)).toMatchObject({ parameter: 'idempotency-key' });
  });

  it.each([
    ['twice', 'Idempotency-Key: a\r\nidempotency-key: a', 400, 'MALFORMED_REQUEST'],
    ['with a DEL', 'Idempotency-Key: a\x7fb', 400, 'MALFORMED_REQUEST'],
    ['with a control', 'Idempotency-Key: a\x01b', 400, 'MALFORMED_REQUEST'],
  ])('that comes %s is refused', async (_what, header, status, code) => {
    const before = await api.stored();
    const { answers } = await rawExchange(
      Number(new URL(api.base).port),
      [
        [
          'POST /api/tasks/?human_readable_id=copy HTTP/1.1',
          'Host: localhost',
          `Authorization: Bearer ${api.operatorToken}`,
          'Content-Type: application/zip',
          `Content-Length: ${zip.length}`,
          header,
          '\r\n',
        ].join('\r\n'),
        zip,
      ],
      { expected: 1 },
    );
    expect(answers).toMatchObject([{ status, code }]);
    expect(await api.stored()).toEqual(before);
  });
});

describe('the owner of a task', () => {
  it.each([
    ['an operator', () => api.operatorToken, 403],
    ['a consumer', () => api.consumer('c1').token, 403],
    ['public-api', () => publicApiToken(api.operatorToken), 200],
  ])('is stated by public-api alone: by %s', async (_who, token, status) => {
    const answer = await api.call('/api/models/', { headers: actingFor('a') }, token());
    expect(answer.status).toBe(status);
  });

  it('is a text of bounded form', async () => {
    for (const owner of ['x'.repeat(201), 'é']) {
      const refused = await post(undefined, { owner });
      expect(refused.status).toBe(422);
      expect(await problemOf(refused)).toMatchObject({ parameter: 'inference-caller' });
    }
  });
});
