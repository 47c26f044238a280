import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callerHeader, type AuditEvent, type CreatedKey } from '@inference-server/contracts';
import { consumerToken, publicApiToken } from '@inference-server/service-kit';
import { actingFor, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
  await api.postModel('copy');
});
afterAll(() => api.close());

const json = { 'content-type': 'application/json' };
const zip = { body: zipOf({ a: 'b' }), headers: { 'content-type': 'application/zip' } };
const password = 'correct horse battery';

/** Without the exports, of which each is an event itself, unless one asks for them. */
async function exported(query = ''): Promise<AuditEvent[]> {
  const all = await everything(query);
  return all.filter(({ action }) => query !== '' || action !== 'export_audit');
}

async function everything(query: string): Promise<AuditEvent[]> {
  const answer = await api.call(`/api/admin/audit${query}`);
  const text = await answer.text();
  expect([answer.status, text.endsWith('\n') || text === '']).toEqual([200, true]);
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8');
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as AuditEvent);
}

/** What was written while `work` went on. */
async function during(work: () => Promise<unknown>): Promise<AuditEvent[]> {
  const before = new Set((await exported()).map(({ id }) => id));
  await work();
  return (await exported()).filter(({ id }) => !before.has(id));
}

const as = (owner: string, method: string, path: string, init: RequestInit = {}) =>
  api.call(
    path,
    { method, ...init, headers: { ...(init.headers as object), ...actingFor(owner, 'publish') } },
    publicApiToken(api.operatorToken),
  );
const said = (events: AuditEvent[]) =>
  events.map(({ action, object_id }) => `${action} ${String(object_id)}`);

/** A task of key:a that has an output. */
async function finishedTask(): Promise<string> {
  const consumer = api.consumer('c1');
  await consumer.register();
  const post = await as('key:a', 'POST', '/api/tasks/?human_readable_id=copy', zip);
  const uid = (await post.json()) as string;
  await expect.poll(async () => (await consumer.claim(uid)).outcome).toBe('won');
  await consumer.finish(uid, zipOf({ b: 'c' }));
  return uid;
}

describe('the audit', () => {
  it('tells who posted, fetched, cancelled and deleted a task, and from where', async () => {
    let uid = '';
    const events = await during(async () => {
      uid = await finishedTask();
      await (await as('key:a', 'GET', `/api/tasks/${uid}`)).arrayBuffer();
      await as('key:a', 'POST', `/api/tasks/${uid}/cancel`);
      await as('key:a', 'DELETE', `/api/tasks/${uid}`);
    });
    expect(said(events)).toEqual([
      `post_task ${uid}`,
      `download_output ${uid}`,
      `delete_task ${uid}`,
    ]);
    expect(events[0]?.details).toEqual({ human_readable_id: 'copy' });
    for (const event of events) {
      expect(event).toMatchObject({
        owner: 'key:a',
        credential: 'key:a',
        address: '192.0.2.1',
        object_kind: 'task',
        refusal: null,
        times: 1,
      });
    }
  });

  it('tells of a download once, and of nothing from which no byte came', async () => {
    const uid = await finishedTask();
    const get = async (owner: string, headers: Record<string, string> = {}, method = 'GET') => {
      const answer = await as(owner, method, `/api/tasks/${uid}`, { headers });
      await answer.arrayBuffer();
      return answer;
    };
    const none = await during(async () => {
      const { headers } = await get('key:a', {}, 'HEAD');
      expect((await get('key:a', { 'if-none-match': headers.get('etag') ?? '' })).status).toBe(304);
      expect((await get('key:a', { range: 'bytes=99999-' })).status).toBe(416);
      expect((await get('key:b')).status).toBe(554);
    });
    expect(none).toEqual([]);
    const some = await during(async () => {
      for (const range of ['bytes=0-9', 'bytes=10-19', 'bytes=20-']) {
        expect((await get('key:a', { range })).status).toBe(206);
      }
      expect((await get('operator')).status).toBe(554);
      await (await api.call(`/api/tasks/${uid}`)).arrayBuffer();
    });
    expect(some.map(({ action, credential }) => `${action} ${credential}`)).toEqual([
      'download_output key:a',
      'download_output operator',
    ]);
  });

  it('tells who read the log of a task, once, and who exported the audit, each time', async () => {
    const uid = await finishedTask();
    const read = await during(async () => {
      for (const method of ['HEAD', 'GET', 'GET']) {
        expect((await as('key:a', method, `/api/tasks/${uid}/log`)).status).toBe(200);
      }
      expect((await as('key:b', 'GET', `/api/tasks/${uid}/log`)).status).toBe(554);
    });
    expect(said(read)).toEqual([`read_log ${uid}`]);
    const before = (await everything('?action=export_audit')).length;
    await everything('?object=copy&since=2026-01-01T00:00:00Z');
    const exports = await everything('?action=export_audit');
    expect(exports).toHaveLength(before + 2);
    expect(exports.at(-2)).toMatchObject({
      ...{ owner: 'operator', object_kind: 'none', object_id: null },
      details: {
        ...{ since: '2026-01-01T00:00:00Z', until: null },
        ...{ by: null, action: null, object: 'copy' },
      },
    });
  });

  it('tells of a cancel once, however often it is asked for', async () => {
    let uid = '';
    const events = await during(async () => {
      const consumer = api.consumer('c1');
      await consumer.register();
      const post = await as('key:a', 'POST', '/api/tasks/?human_readable_id=copy', zip);
      uid = (await post.json()) as string;
      await expect.poll(async () => (await consumer.claim(uid)).outcome).toBe('won');
      for (let time = 0; time < 3; time += 1) await as('key:a', 'POST', `/api/tasks/${uid}/cancel`);
    });
    expect(said(events)).toEqual([`post_task ${uid}`, `cancel_task ${uid}`]);
  });

  it('tells of models, keys, people and consumers, and of nothing that did not come about', async () => {
    await api.consumer('c1').register();
    let id = '';
    const events = await during(async () => {
      await as('key:a', 'POST', '/api/models/?human_readable_id=m&container_tag=a');
      await as('key:a', 'POST', '/api/models/?human_readable_id=m&container_tag=a');
      await as('key:b', 'PUT', '/api/models/m?container_tag=b');
      await as('key:a', 'PUT', '/api/models/m?container_tag=b');
      await as('key:a', 'DELETE', '/api/models/m');
      const body = JSON.stringify({ name: 'k\ud800', role: 'submit' });
      const made = await api.call('/api/admin/keys/', { method: 'POST', headers: json, body });
      ({ id } = (await made.json()) as CreatedKey);
      await api.call(`/api/admin/keys/${id}`, { method: 'DELETE' });
      await api.call('/api/admin/keys/none', { method: 'DELETE' });
      const user = JSON.stringify({ password, role: 'submit' });
      await api.call('/api/admin/users/ada', { method: 'PUT', headers: json, body: user });
      const role = JSON.stringify({ role: 'admin' });
      await api.call('/api/admin/users/ada', { method: 'PUT', headers: json, body: role });
      const login = JSON.stringify({ user_name: 'ada', password, human_readable_id: 'copy' });
      await as('anonymous', 'POST', '/api/tokens/', { headers: json, body: login });
      await api.call('/api/admin/users/ada', { method: 'DELETE' });
      await api.call('/api/consumers/c1/drain', { method: 'POST' });
      await api.call('/api/consumers/c1/resume', { method: 'POST' });
      await api.call('/api/consumers/none/drain', { method: 'POST' });
    });
    expect(
      events.map(({ action, object_id, owner, details }) => [action, object_id, owner, details]),
    ).toEqual([
      ['register_model', 'm', 'key:a', { container_tag: 'a' }],
      ['put_model', 'm', 'key:a', { container_tag: 'b' }],
      ['delete_model', 'm', 'key:a', {}],
      ['create_key', id, 'operator', { role: 'submit', owner: `key:${id}` }],
      ['revoke_key', id, 'operator', {}],
      ['put_user', 'ada', 'operator', { role: 'submit', new_password: true }],
      ['put_user', 'ada', 'operator', { role: 'admin', new_password: false }],
      ['log_in', 'ada', 'user:ada', {}],
      ['issue_token', 'copy', 'user:ada', { role: 'submit', expires_in_s: 900 }],
      ['lock_user', 'ada', 'operator', {}],
      ['drain_consumer', 'c1', 'operator', {}],
      ['resume_consumer', 'c1', 'operator', {}],
    ]);
    expect(JSON.stringify(events)).not.toContain(password);
  });

  it('takes no act that it cannot write down', async () => {
    await api.database.query(
      `ALTER TABLE audit_events ADD CONSTRAINT no CHECK (owner <> 'key:no')`,
    );
    const uid = await finishedTask();
    const before = await api.stored();
    expect((await as('key:no', 'POST', '/api/tasks/?human_readable_id=copy', zip)).status).toBe(
      500,
    );
    const models = await as('key:no', 'POST', '/api/models/?human_readable_id=n&container_tag=a');
    expect(models.status).toBe(500);
    expect(await api.stored()).toEqual(before);
    const download = await api.call(
      `/api/tasks/${uid}`,
      { headers: actingFor('key:no', 'operate') },
      publicApiToken(api.operatorToken),
    );
    expect([download.status, download.headers.get('content-type')]).toEqual([
      500,
      'application/problem+json; charset=utf-8',
    ]);
    await api.database.query(`ALTER TABLE audit_events DROP CONSTRAINT no`);
  });

  it('is only added to: no statement changes or removes a row, nor all of them', async () => {
    const before = await exported();
    expect(before.length).toBeGreaterThan(0);
    for (const statement of [
      `UPDATE audit_events SET owner = 'somebody else'`,
      `UPDATE audit_events SET owner = 'somebody else' WHERE false`,
      `UPDATE audit_events SET at = now() - interval '2 days'`,
      `DELETE FROM audit_events`,
      `TRUNCATE audit_events`,
      `SET session_replication_role = replica; DELETE FROM audit_events`,
      `SET session_replication_role = replica; TRUNCATE audit_events`,
      `DO $$ BEGIN DELETE FROM audit_events /* PL/pgSQL function keep_audit_events() line */; END $$`,
      `SET TimeZone = '${longDay()}'; DELETE FROM audit_events`,
    ]) {
      await expect(api.database.query(statement), statement).rejects.toThrow('only added to');
    }
    expect(await exported()).toEqual(before);
  });
});

describe('refused attempts', () => {
  const tell = (refusals: object[], token: string) =>
    api.call(
      '/internal/audit/refusals',
      { method: 'POST', headers: json, body: JSON.stringify({ refusals }) },
      token,
    );
  const refusal = {
    owner: 'unknown',
    credential: 'unknown',
    address: '198.51.100.1',
    operation_id: 'getTask',
    code: 'UNAUTHORIZED',
    times: 7,
  };

  it('are told by the doors, and by nobody else', async () => {
    const events = await during(async () => {
      const told = await tell([refusal, refusal], publicApiToken(api.operatorToken));
      expect(await told.json()).toEqual({ noted: 2 });
      for (const token of [api.operatorToken, consumerToken(api.operatorToken, 'c1')]) {
        expect((await tell([refusal], token)).status).toBe(403);
      }
      const many = Array.from({ length: 301 }, () => refusal);
      const odd = { ...refusal, owner: 'a\nb' };
      for (const refused of [many, [odd], [{ ...refusal, code: 'NONE' }], []]) {
        expect((await tell(refused, publicApiToken(api.operatorToken))).status).toBe(422);
      }
    });
    const { operation_id, code, ...same } = refusal;
    const event = { action: 'refused_attempt', object_id: operation_id, refusal: code, ...same };
    expect(events).toMatchObject([event, event]);
  });

  it('at private-api are told once each, with whose they are, at the latest at its end', async () => {
    const own = await runPrivateApi({ PASSWORD_HASH_COST: 10 });
    const door = publicApiToken(own.operatorToken);
    const asA = { headers: actingFor('key:a') };
    const typed = 'typed in the wrong field'.replaceAll(' ', '_');
    const logIn = (user_name: string) =>
      own.call(
        '/api/tokens/',
        {
          method: 'POST',
          headers: { ...json, ...actingFor('anonymous') },
          body: JSON.stringify({ user_name, password: 'wrong' }),
        },
        door,
      );
    await own.call('/api/admin/users/ada', {
      method: 'PUT',
      headers: json,
      body: JSON.stringify({ password, role: 'submit' }),
    });
    for (let time = 0; time < 3; time += 1) {
      expect((await own.call('/api/admin/keys/', asA, door)).status).toBe(403);
    }
    expect((await own.call(`/api/tasks/${'x'.repeat(43)}`, asA, door)).status).toBe(554);
    expect((await own.call('/api/tasks/', {}, 'wrong')).status).toBe(401);
    const consumer = consumerToken(own.operatorToken, 'c1');
    expect((await own.call('/api/tasks/', {}, consumer)).status).toBe(403);
    const claimed = { headers: { [callerHeader]: actingFor('key:b')[callerHeader] ?? '' } };
    expect((await own.call('/api/tasks/', claimed)).status).toBe(403);
    const body = JSON.stringify({ bearer: 'none', address: '192.0.2.1' });
    const identify = { method: 'POST', headers: json, body };
    expect((await own.call('/internal/callers/identify', identify, door)).status).toBe(401);
    for (const name of ['ada', typed]) expect((await logIn(name)).status).toBe(401);
    await own.close();
    const rows = await own.database.query<{ line: string }>(
      `SELECT concat_ws(' ', owner, address, object_id, refusal, times) AS line
         FROM audit_events WHERE action = 'refused_attempt' ORDER BY 1`,
    );
    expect(rows.map(({ line }) => line)).toEqual([
      'consumer:c1 127.0.0.1 listTasks FORBIDDEN 1',
      'key:a 192.0.2.1 getTask TASK_NOT_FOUND 1',
      'key:a 192.0.2.1 listKeys FORBIDDEN 3',
      'operator 127.0.0.1 listTasks FORBIDDEN 1',
      'unknown 127.0.0.1 listTasks UNAUTHORIZED 1',
      'unknown 192.0.2.1 logIn LOGIN_FAILED 1',
      'user:ada 192.0.2.1 logIn LOGIN_FAILED 1',
    ]);
    const all = await own.database.query(`SELECT * FROM audit_events`);
    expect(
      JSON.stringify(all, (_, value: unknown) => (typeof value === 'bigint' ? '' : value)),
    ).not.toContain(typed);
  });
});

describe('the export', () => {
  const insert = (many: number, columns = `'call', 'a', 'a', 'a', 'none', NULL`) =>
    api.database.query(
      `INSERT INTO audit_events (at, action, owner, credential, address, object_kind, object_id)
       SELECT '2020-01-01T00:00:00.000001Z'::timestamptz + (n / 3) * interval '1 second', ${columns}
         FROM generate_series(0, ${many - 1}) AS n`,
    );

  it('is whole however long it is, in the order of time, and as narrow as it is asked for', async () => {
    await insert(5_000);
    await insert(2, `'call', 'b', 'c', 'a', 'task', E'x"\\n'`);
    const then = '?until=2021-01-01T00:00:00Z';
    const all = await exported(then);
    expect(all).toHaveLength(5_002);
    expect(new Set(all.map(({ id }) => id)).size).toBe(5_002);
    expect(all.map(({ at }) => at)).toEqual(all.map(({ at }) => at).sort());
    expect(await exported(`${then}&since=2020-01-01T00:00:10Z`)).toHaveLength(5_000 - 30);
    for (const by of ['b', 'c']) expect(await exported(`${then}&by=${by}`)).toHaveLength(2);
    expect(await exported(`${then}&by=nobody`)).toEqual([]);
    expect(await exported(`${then}&action=post_task`)).toEqual([]);
    expect((await exported('?action=register_model')).length).toBeGreaterThan(0);
    expect((await exported('?object=copy')).map(({ action }) => action)).toContain(
      'register_model',
    );
    expect(all.filter(({ object_id }) => object_id === 'x"\n')).toHaveLength(2);
  });

  it('is for admins, and refuses what is no time and no action', async () => {
    for (const query of [
      'since=yesterday',
      'until=2020-01-01T23:59:60Z',
      'action=call',
      'after=1',
    ]) {
      expect((await api.call(`/api/admin/audit?${query}`)).status, query).toBe(422);
    }
    expect((await as('key:a', 'GET', '/api/admin/audit')).status).toBe(403);
    const head = await api.call('/api/admin/audit', { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });
});

/** A time zone whose clocks were put on by 26 hours an hour ago: there one day before now is yet to come. */
function longDay(): string {
  const switched = new Date(Date.now() - 14 * 3_600_000);
  const newYear = Date.UTC(switched.getUTCFullYear(), 0, 1);
  const day = Math.floor((switched.getTime() - newYear) / 86_400_000);
  return `AAA13BBB-13,${day}/${switched.toISOString().slice(11, 16)},365/24`;
}
