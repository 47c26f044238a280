import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditEvent, CreatedKey } from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { actingFor, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const exported = async (query = ''): Promise<AuditEvent[]> => {
  const answer = await api.call(`/api/admin/audit${query}`);
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8');
  const text = await answer.text();
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as AuditEvent);
};
const lastId = async () => (await exported()).at(-1)?.id ?? '0';
const as = (owner: string, method: string, path: string, init: RequestInit = {}) =>
  api.call(
    path,
    { method, ...init, headers: { ...(init.headers as object), ...actingFor(owner, 'publish') } },
    publicApiToken(api.operatorToken),
  );
const zip = { body: zipOf({ a: 'b' }), headers: { 'content-type': 'application/zip' } };

describe('the audit', () => {
  it('tells who posted, fetched, cancelled and deleted a task, and from where', async () => {
    const after = await lastId();
    const consumer = api.consumer('c1');
    await consumer.register();
    const post = await as('key:a', 'POST', '/api/tasks/?human_readable_id=copy', zip);
    const uid = (await post.json()) as string;
    await expect.poll(async () => (await consumer.claim(uid)).outcome).toBe('won');
    await consumer.finish(uid, zipOf({ b: 'c' }));
    await (await as('key:a', 'GET', `/api/tasks/${uid}`)).arrayBuffer();
    await as('key:a', 'HEAD', `/api/tasks/${uid}`);
    await as('key:b', 'GET', `/api/tasks/${uid}`);
    await as('key:a', 'DELETE', `/api/tasks/${uid}`);
    const events = await exported(`?after=${after}`);
    expect(events.map(({ action }) => action)).toEqual([
      'post_task',
      'download_output',
      'delete_task',
    ]);
    for (const event of events) {
      expect(event).toMatchObject({
        owner: 'key:a',
        credential: 'key:a',
        address: '192.0.2.1',
        object_kind: 'task',
        object_id: uid,
        refusal: null,
        times: 1,
      });
    }
  });

  it('tells of models, keys, people and consumers, and of nothing that did not come about', async () => {
    const after = await lastId();
    await as('key:a', 'POST', '/api/models/?human_readable_id=m&container_tag=a');
    await as('key:a', 'POST', '/api/models/?human_readable_id=m&container_tag=a');
    await as('key:b', 'PUT', '/api/models/m?container_tag=b');
    await as('key:a', 'PUT', '/api/models/m?container_tag=b');
    await as('key:a', 'DELETE', '/api/models/m');
    const json = { 'content-type': 'application/json' };
    const body = JSON.stringify({ name: 'k', role: 'submit' });
    const made = await api.call('/api/admin/keys/', { method: 'POST', headers: json, body });
    const { id } = (await made.json()) as CreatedKey;
    await api.call(`/api/admin/keys/${id}`, { method: 'DELETE' });
    const user = JSON.stringify({ password: 'correct horse battery', role: 'submit' });
    await api.call('/api/admin/users/ada', { method: 'PUT', headers: json, body: user });
    await api.call('/api/admin/users/ada', { method: 'DELETE' });
    await api.call('/api/consumers/c1/drain', { method: 'POST' });
    await api.call('/api/consumers/c1/resume', { method: 'POST' });
    await api.call('/api/consumers/none/drain', { method: 'POST' });
    const done = (await exported(`?after=${after}`)).filter(({ refusal }) => refusal === null);
    expect(done.map(({ action, object_id }) => `${action} ${object_id}`)).toEqual([
      'register_model m',
      'put_model m',
      'delete_model m',
      `create_key ${id}`,
      `revoke_key ${id}`,
      'put_user ada',
      'lock_user ada',
      'drain_consumer c1',
      'resume_consumer c1',
    ]);
  });

  it('tells what was refused: here and at the doors, those of a second as one', async () => {
    const after = await lastId();
    for (let time = 0; time < 3; time += 1) await as('key:a', 'DELETE', '/api/admin/keys/x');
    const refusals = [
      { credential: 'unknown', address: '198.51.100.1', operation_id: 'getTask', code: 'UNAUTHORIZED', times: 7 },
    ];
    const told = await api.call(
      '/internal/audit/refusals',
      { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ refusals }) },
      publicApiToken(api.operatorToken),
    );
    expect(await told.json()).toEqual({ noted: 1 });
    const events = async () => exported(`?after=${after}`);
    await expect
      .poll(async () => (await events()).length, { timeout: 5_000 })
      .toBe(2);
    expect(await events()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ action: 'call', object_id: 'revokeKey', refusal: 'FORBIDDEN', times: 3 }),
        expect.objectContaining({ action: 'call', object_id: 'getTask', refusal: 'UNAUTHORIZED', times: 7 }),
      ]),
    );
  });

  it('is only added to: by nobody can a row be changed or removed, but by the sweep', async () => {
    for (const statement of [
      `UPDATE audit_events SET owner = 'somebody else'`,
      `DELETE FROM audit_events`,
      `TRUNCATE audit_events`,
    ]) {
      await expect(api.database.query(statement)).rejects.toThrow('only added to');
    }
  });

  it('is exported page by page, from a time on, and whole however long it is', async () => {
    const after = await lastId();
    await api.database.query(
      `INSERT INTO audit_events (at, action, owner, credential, address, object_kind)
       SELECT '2020-01-01T00:00:00Z'::timestamptz + n * interval '1 second', 'call', 'a', 'a', 'a', 'none'
         FROM generate_series(1, 2500) AS n`,
    );
    expect(await exported(`?after=${after}`)).toHaveLength(2500);
    expect(await exported(`?after=${after}&limit=1500`)).toHaveLength(1500);
    const times = 'from=2020-01-01T00:00:10Z&to=2020-01-01T00:00:20Z';
    expect(await exported(`?after=${after}&${times}`)).toHaveLength(10);
    expect((await api.call('/api/admin/audit?from=yesterday')).status).toBe(422);
    expect((await as('key:a', 'GET', '/api/admin/audit')).status).toBe(403);
  });
});
