import { Readable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { publicApiToken } from '@inference-server/service-kit';
import { rawExchange, waitUntil } from '@inference-server/testing';
import { openDatabase } from '../../src/database/database.js';
import { createWaitingLimits } from '../../src/modules/tasks/waiting-limits.js';
import { actingFor, runPrivateApi, zipOf, type RunningPrivateApi } from '../running-private-api.js';
import { openSlowly } from '../slow-zip.js';
import { claimTask } from '../task-helpers.js';

const opened: RunningPrivateApi[] = [];
afterEach(async () => {
  for (const api of opened.splice(0)) await api.close();
});

async function start(limits: Parameters<typeof runPrivateApi>[0]) {
  const api = await runPrivateApi(limits);
  opened.push(api);
  await api.postModel('copy');
  const post = (owner?: string) =>
    api.call(
      '/api/tasks/?human_readable_id=copy',
      {
        method: 'POST',
        body: zipOf({ a: 'b' }),
        headers: {
          'content-type': 'application/zip',
          ...(owner === undefined ? {} : actingFor(owner)),
        },
      },
      owner === undefined ? undefined : publicApiToken(api.operatorToken),
    );
  return { api, post };
}

const tooMany = { code: 'TOO_MANY_REQUESTS', status: 429 };

describe('the number of waiting tasks', () => {
  it('is limited in all, and there is room again when one is claimed or ends', async () => {
    const { api, post } = await start({ MAX_WAITING_TASKS: 3 });
    const uids: string[] = [];
    for (let i = 0; i < 3; i += 1) uids.push((await (await post()).json()) as string);
    const before = await api.stored();
    const refused = await post();
    expect(await refused.json()).toMatchObject({
      ...tooMany,
      quota: { policy: 'waiting-tasks', unit: 'tasks', limit: 3, used: 3, reset_s: null },
    });
    expect(refused.headers.get('ratelimit-policy')).toBe('"waiting-tasks";q=3;qu="tasks"');
    expect(refused.headers.get('ratelimit')).toBe('"waiting-tasks";r=0');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await api.stored()).toEqual(before);

    await claimTask(api, uids[0] ?? '');
    const fits = async () => (await post()).status === 200;
    expect(await waitUntil(fits, { timeoutMs: 5_000 })).toBe(true);
    expect((await post()).status).toBe(429);
    await api.call(`/api/tasks/${uids[1]}`, { method: 'DELETE' });
    expect(await waitUntil(fits, { timeoutMs: 5_000 })).toBe(true);
    expect((await post()).status).toBe(429);
  });

  it('is seen by every process, whichever took the posts', async () => {
    const { api, post } = await start({ MAX_WAITING_TASKS: 3 });
    const second = await runPrivateApi({ ...api.config, PORT: 0 });
    opened.push(second);
    expect((await post()).status).toBe(200);
    await second.postTask('copy');
    await second.postTask('copy');
    expect((await post()).status).toBe(429);
    await expect(second.postTask('copy')).rejects.toThrow(/TOO_MANY_REQUESTS/);
  });

  it('is not passed by more than the posts in hand', async () => {
    const { api, post } = await start({ MAX_WAITING_TASKS: 10 });
    const statuses: number[] = [];
    const poster = async () => {
      for (let i = 0; i < 10; i += 1) statuses.push((await post()).status);
    };
    await Promise.all([poster(), poster(), poster(), poster()]);
    const { tasks } = await api.stored();
    expect(tasks).toBeGreaterThanOrEqual(10);
    expect(tasks).toBeLessThan(14);
    expect(statuses.filter((status) => status === 200)).toHaveLength(tasks ?? 0);
    expect(statuses.filter((status) => status === 429)).toHaveLength(40 - (tasks ?? 0));
  });

  it('is held also when many were let in at once', async () => {
    const { api } = await start({ MAX_WAITING_TASKS: 1 });
    const before = await api.stored();
    const posts = [];
    for (let at = 0; at < 2; at += 1) {
      const zip = openSlowly(api, zipOf({ a: 'b' }));
      const answer = api.call('/api/tasks/?human_readable_id=copy', {
        method: 'POST',
        body: Readable.toWeb(zip.stream) as ReadableStream,
        duplex: 'half',
        headers: { 'content-type': 'application/zip' },
      });
      const isReceived = async () => (await api.stored()).files === before.files + at + 1;
      expect(await waitUntil(isReceived, { timeoutMs: 5_000 })).toBe(true);
      posts.push({ zip, answer });
    }
    const statuses = [];
    for (const { zip, answer } of posts) {
      zip.finish();
      statuses.push((await answer).status);
    }
    expect(statuses).toEqual([200, 429]);
    expect((await api.stored()).files).toBe(before.files + 1);
  });

  it('is limited for each owner alone', async () => {
    const { post } = await start({ MAX_WAITING_TASKS_PER_OWNER: 2 });
    for (const owner of ['a', 'b']) {
      expect((await post(owner)).status).toBe(200);
      expect((await post(owner)).status).toBe(200);
      const refused = await post(owner);
      expect(await refused.json()).toMatchObject({
        ...tooMany,
        quota: { policy: 'waiting-tasks-per-owner', limit: 2, used: 2 },
      });
      expect(refused.headers.has('retry-after')).toBe(true);
    }
    expect((await post()).status).toBe(200);
  });

  it('is looked at before a byte of the body is asked for', async () => {
    const { api, post } = await start({ MAX_WAITING_TASKS: 1 });
    expect((await post()).status).toBe(200);
    const { answers, heard } = await rawExchange(
      Number(new URL(api.base).port),
      [
        [
          'POST /api/tasks/?human_readable_id=copy HTTP/1.1',
          'Host: localhost',
          `Authorization: Bearer ${api.operatorToken}`,
          'Content-Type: application/zip',
          'Content-Length: 1000000',
          'Expect: 100-continue',
          '\r\n',
        ].join('\r\n'),
        { awaiting: /100 Continue|TOO_MANY_REQUESTS/ },
        { then: 'close' },
      ],
      { expected: 1 },
    );
    expect(answers).toMatchObject([{ status: 429, code: 'TOO_MANY_REQUESTS' }]);
    expect(heard).not.toContain('100 Continue');
  });

  it('is counted once for posts that come together, and again for those that come later', async () => {
    const { api } = await start({});
    await api.postTask('copy');
    const database = openDatabase(api.database.url, pino({ level: 'silent' }));
    try {
      let counts = 0;
      const limits = createWaitingLimits(
        {
          ...database,
          query: (sql, values) => {
            if (sql.includes('AS waiting')) counts += 1;
            return database.query(sql, values);
          },
        },
        { total: 1, perOwner: 0 },
      );
      const refusals = await Promise.all(Array.from({ length: 15 }, () => limits.refusal('a')));
      for (const refusal of refusals) expect(refusal?.code).toBe('TOO_MANY_REQUESTS');
      expect(counts).toBe(1);
      // A refusal stands for a tenth of a second at most, then the rows are counted again.
      await api.database.query(`UPDATE tasks SET state = 'CANCELLED'`);
      const isOver = async () => (await limits.refusal('a')) === undefined;
      expect(await waitUntil(isOver, { timeoutMs: 5_000 })).toBe(true);
      expect(counts).toBeGreaterThan(1);
    } finally {
      await database.close();
    }
  });

  it('does not keep a post from its uid that was made before', async () => {
    const { api } = await start({ MAX_WAITING_TASKS: 1 });
    const body = zipOf({ a: 'b' });
    const post = async () => {
      const answer = await api.call('/api/tasks/?human_readable_id=copy', {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/zip', 'idempotency-key': 'k' },
      });
      return (await answer.json()) as string;
    };
    const uid = await post();
    expect(uid).toHaveLength(43);
    expect(await post()).toBe(uid);
  });
});
