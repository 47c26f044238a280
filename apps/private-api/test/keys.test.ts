import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type {
  CreatedKey,
  IdentifiedCaller,
  KeyDetails,
  NewKey,
  Problem,
  TaskList,
} from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { createTestDatabase, testFolder } from '@inference-server/testing';
import { actingFor, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
});
afterAll(() => api.close());

const json = { 'content-type': 'application/json' };
const create = (key: Partial<NewKey>) =>
  api.call('/api/admin/keys/', {
    method: 'POST',
    headers: json,
    body: JSON.stringify({ name: 'a', role: 'submit', ...key }),
  });
const created = async (key: Partial<NewKey> = {}): Promise<CreatedKey> =>
  (await (await create(key)).json()) as CreatedKey;
const revoke = (id: string) => api.call(`/api/admin/keys/${id}`, { method: 'DELETE' });
const identify = (bearer: string) =>
  api.call(
    '/internal/callers/identify',
    { method: 'POST', headers: json, body: JSON.stringify({ bearer, address: '192.0.2.1' }) },
    publicApiToken(api.operatorToken),
  );
const isKnown = async (bearer: string) => (await identify(bearer)).status === 200;

describe('a key', () => {
  it('is shown once, and what is kept of it opens nothing', async () => {
    const { key, ...details } = await created({ name: 'Station 7', role: 'publish' });
    expect(key).toMatch(new RegExp(`^isk_${details.id}_[A-Za-z0-9_-]{43}$`));
    expect(details).toMatchObject({ owner: `key:${details.id}`, created_by: 'operator' });
    const listed = await (await api.call('/api/admin/keys/')).text();
    expect(JSON.parse(listed)).toContainEqual(details);
    const [row] = await api.database.query<{ text: string }>(
      `SELECT k::text || encode(k.secret_sha256, 'escape') AS text FROM keys k WHERE id = $1`,
      [details.id],
    );
    const secret = key.slice(`isk_${details.id}_`.length);
    for (const kept of [listed, row?.text]) expect(kept).not.toContain(secret);
    expect(row?.text).toContain(details.id);
  });

  it('tells whose it is and what it may do, and when it was used', async () => {
    const { key, id } = await created({ role: 'operate' });
    const lastUse = async () =>
      ((await (await api.call('/api/admin/keys/')).json()) as KeyDetails[]).find(
        (one) => one.id === id,
      )?.last_used_at;
    expect(await lastUse()).toBeNull();
    expect((await (await identify(key)).json()) as IdentifiedCaller).toEqual({
      owner: `key:${id}`,
      role: 'operate',
      credential: `key:${id}`,
      address: '192.0.2.1',
      human_readable_id: null,
    });
    expect(await lastUse()).toEqual(expect.any(String));
  });

  it('opens nothing when revoked, and that can be said twice', async () => {
    const { key, id } = await created();
    expect(await isKnown(key)).toBe(true);
    const first = (await (await revoke(id)).json()) as KeyDetails;
    expect(await isKnown(key)).toBe(false);
    expect(await (await revoke(id)).json()).toEqual(first);
    expect(first.revoked_at).not.toBeNull();
  });

  it('opens nothing after its time', async () => {
    const { key, id } = await created({ expires_in_s: 3600 });
    expect(await isKnown(key)).toBe(true);
    await api.database.query(`UPDATE keys SET expires_at = now() WHERE id = $1`, [id]);
    expect(await isKnown(key)).toBe(false);
  });

  it('is none with another secret, another id, or anything more', async () => {
    const [one, other] = [await created(), await created()];
    const secretOf = ({ key }: CreatedKey) => key.slice(21);
    for (const wrong of [
      `isk_${one.id}_${secretOf(other)}`,
      `isk_${other.id}_${secretOf(one)}`,
      `${one.key}A`,
      ` ${one.key}`,
      one.key.slice(0, -1),
      one.key.toUpperCase(),
      `isk_${one.id}_`,
      'isk_',
      "' OR 1=1 --",
      '\u0000',
    ]) {
      expect([wrong, await isKnown(wrong)]).toEqual([wrong, false]);
    }
    expect(await isKnown(one.key)).toBe(true);
  });

  it('is told from others that are asked for with it, whose use is noted as well', async () => {
    const [first, gone, second] = [await created(), await created(), await created()];
    await revoke(gone.id);
    const wrong = `${first.key.slice(0, -1)}${first.key.endsWith('A') ? 'B' : 'A'}`;
    const answer = await api.call(
      '/internal/callers/identify-all',
      {
        method: 'POST',
        headers: json,
        body: JSON.stringify({
          bearers: [first.key, gone.key, 'nothing', wrong, second.key, first.key],
        }),
      },
      publicApiToken(api.operatorToken),
    );
    const whose = ({ id }: CreatedKey) => ({
      ...{ owner: `key:${id}`, credential: `key:${id}`, role: 'submit', human_readable_id: null },
    });
    expect(await answer.json()).toEqual({
      callers: [whose(first), null, null, null, whose(second), whose(first)],
    });
    const listed = (await (await api.call('/api/admin/keys/')).json()) as KeyDetails[];
    const used = (one: CreatedKey) => listed.find(({ id }) => id === one.id)?.last_used_at !== null;
    expect([first, gone, second].map(used)).toEqual([true, false, true]);
  });

  it('may take the place of another: it reaches the same tasks', async () => {
    const old = await created();
    const successor = await created({ owner: old.owner });
    await revoke(old.id);
    const { owner } = (await (await identify(successor.key)).json()) as IdentifiedCaller;
    expect(owner).toBe(old.owner);
    const refused = await create({ owner: `key:${'z'.repeat(16)}` });
    expect((await refused.json()) as Problem).toMatchObject({ parameter: 'owner', status: 422 });
  });

  it.each([
    [{ role: 'root' }],
    [{ name: '' }],
    [{ name: 'a\nb' }],
    [{ expires_in_s: 0 }],
    [{ owner: 'operator' }],
    [{ owner: 'anonymous' }],
    [{ secret: 'x' }],
  ])('is not made of %j', async (key) => {
    expect((await create(key as Partial<NewKey>)).status).toBe(422);
  });
});

describe('the first key', () => {
  it('is in a file for its owner alone, made once', async () => {
    const folder = await testFolder();
    const { url } = await createTestDatabase();
    const path = join(folder, 'admin.key');
    // As an earlier start that was killed may have left it.
    await writeFile(`${path}.part`, 'half a k');
    await chmod(`${path}.part`, 0o644);
    const settings = { DATABASE_URL: url, DATA_DIR: folder };
    const both = await Promise.all([runPrivateApi(settings), runPrivateApi(settings)]);
    const key = (await readFile(path, 'utf8')).trim();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const [first] = both;
    const token = publicApiToken(first.operatorToken);
    const asked = { method: 'POST', headers: json };
    const answer = await first.call(
      '/internal/callers/identify',
      { ...asked, body: JSON.stringify({ bearer: key, address: 'x' }) },
      token,
    );
    expect(await answer.json()).toMatchObject({ role: 'admin' });
    for (const one of both) await one.close();

    const again = await runPrivateApi(settings);
    expect((await readFile(path, 'utf8')).trim()).toBe(key);
    const setUp = await again.call('/internal/set-up', {}, publicApiToken(again.operatorToken));
    expect(await setUp.json()).toEqual({ has_keys: true });
    const keys = (await (await again.call('/api/admin/keys/')).json()) as KeyDetails[];
    expect(keys).toHaveLength(1);
    await again.close();
  });

  it('that cannot be written ends the start, and makes no row', async () => {
    const { url, query } = await createTestDatabase();
    const settings = { DATABASE_URL: url, DATA_DIR: join(await testFolder(), 'absent') };
    await expect(runPrivateApi(settings)).rejects.toThrow(/first admin key cannot be written/);
    expect(await query('SELECT 1 FROM keys')).toEqual([]);
  });
});

describe('tasks', () => {
  const as = (owner: string, path: string, init: RequestInit = {}, role?: 'operate') =>
    api.call(
      path,
      { ...init, headers: { ...(init.headers as object), ...actingFor(owner, role) } },
      publicApiToken(api.operatorToken),
    );
  const list = async (owner: string, query = '', role?: 'operate') =>
    (await (await as(owner, `/api/tasks/${query}`, {}, role)).json()) as TaskList;

  it('are listed to their owner, and to an operator all, page by page', async () => {
    await api.postModel('listed');
    const post = async (owner: string) => {
      const init = {
        method: 'POST',
        body: zipOf({ a: 'b' }),
        headers: { 'content-type': 'application/zip' },
      };
      const answer = await as(owner, '/api/tasks/?human_readable_id=listed', init);
      return (await answer.json()) as string;
    };
    const mine = [await post('key:mine'), await post('key:mine'), await post('key:mine')];
    const theirs = await post('key:theirs');
    const uidsOf = ({ tasks }: TaskList) => tasks.map(({ uid }) => uid);

    expect(uidsOf(await list('key:mine'))).toEqual(mine.toReversed());
    const first = await list('key:mine', '?limit=2');
    const second = await list('key:mine', `?limit=2&before=${first.next}`);
    expect([...uidsOf(first), ...uidsOf(second)]).toEqual(mine.toReversed());
    expect(second.next).toBeNull();
    expect(uidsOf(await list('op', '', 'operate'))).toEqual([theirs, ...mine.toReversed()]);
    expect(uidsOf(await list('key:mine', '?state=RUNNING'))).toEqual([]);
    await as('key:mine', `/api/tasks/${mine[0]}`, { method: 'DELETE' });
    expect(uidsOf(await list('key:mine'))).toEqual(mine.slice(1).toReversed());
    const of = `?owner=key:${'a'.repeat(16)}`;
    expect((await as('key:mine', `/api/tasks/${of}`)).status).toBe(403);
    expect(uidsOf(await list('op', of, 'operate'))).toEqual([]);
  });
});
