import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type {
  CreatedKey,
  IdentifiedCaller,
  IssuedToken,
  Problem,
  TokenRequest,
  UserDetails,
  UserSettings,
} from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { createTestDatabase } from '@inference-server/testing';
import { keptSubject } from '../../src/modules/callers/login-failures.js';
import { actingFor, runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';

const password = 'correct horse battery';
let api: RunningPrivateApi;
let doorToken: string;
beforeAll(async () => {
  api = await runPrivateApi();
  doorToken = publicApiToken(api.operatorToken);
});
afterAll(() => api.close());

const send = (method: string, path: string, body?: object, door = false, caller = {}) =>
  api.call(
    path,
    {
      method,
      headers: { ...(body && { 'content-type': 'application/json' }), ...caller },
      ...(body && { body: JSON.stringify(body) }),
    },
    door ? doorToken : undefined,
  );
const put = (name: string, settings: UserSettings) =>
  send('PUT', `/api/admin/users/${name}`, settings);
const identify = (shown: object) =>
  send('POST', '/internal/callers/identify', { address: '192.0.2.1', ...shown }, true);
const logIn = (user_name: string, tried = password, address = '192.0.2.1') =>
  identify({ user_name, password: tried, address });
const askToken = (request: TokenRequest, caller = actingFor('anonymous')) =>
  send('POST', '/api/tokens/', request, true, caller);
const tokenFor = async (request: TokenRequest, caller?: ReturnType<typeof actingFor>) => {
  const answer = await askToken(request, caller);
  expect(answer.status).toBe(200);
  return ((await answer.json()) as IssuedToken).token;
};
const whoShows = async (bearer: string) => {
  const answer = await identify({ bearer });
  return answer.status === 200 ? ((await answer.json()) as IdentifiedCaller) : answer.status;
};

describe('a person', () => {
  it('is let in by name and password, which is kept as a hash', async () => {
    const made = (await (await put('ada', { password, role: 'publish' })).json()) as UserDetails;
    expect(made).toMatchObject({ user_name: 'ada', role: 'publish', created_by: 'operator' });
    expect(await (await logIn('ada')).json()).toMatchObject({
      owner: 'user:ada',
      role: 'publish',
      credential: 'user:ada',
    });
    const [row] = await api.database.query<{ hash: string }>(
      `SELECT password_hash AS hash FROM users WHERE user_name = 'ada'`,
    );
    expect(row?.hash).toMatch(/^\$scrypt\$ln=16,r=8,p=2\$[^$]{22}\$[^$]{43}$/);
    const listed = (await (await send('GET', '/api/admin/users/')).json()) as UserDetails[];
    expect(listed.find(({ user_name }) => user_name === 'ada')?.last_login_at).not.toBeNull();
    expect(JSON.stringify(listed)).not.toContain('scrypt');
  });

  it('is not told what was wrong', async () => {
    const answers = [await logIn('ada', 'wrong'), await logIn('nobody')];
    const told = await Promise.all(answers.map((answer) => answer.text()));
    expect(answers.map(({ status }) => status)).toEqual([401, 401]);
    expect(told[0]).toBe(told[1]);
  });

  it('is locked out with tokens and keys of theirs, and let in again by a put', async () => {
    await put('bob', { password, role: 'submit' });
    const token = await tokenFor({ user_name: 'bob', password });
    const answer = await send('POST', '/api/admin/keys/', {
      name: 'b',
      role: 'submit',
      owner: 'user:bob',
    });
    const { key } = (await answer.json()) as CreatedKey;
    for (const bearer of [token, key])
      expect(await whoShows(bearer)).toMatchObject({ owner: 'user:bob' });
    await send('DELETE', '/api/admin/users/bob');
    expect((await logIn('bob')).status).toBe(401);
    for (const bearer of [token, key]) expect(await whoShows(bearer)).toBe(401);
    await put('bob', {});
    expect((await logIn('bob')).status).toBe(200);
    // A key is revoked by itself; a token that somebody else may have is good for nothing any more.
    expect(await whoShows(key)).toMatchObject({ owner: 'user:bob' });
    expect(await whoShows(token)).toBe(401);
    const fresh = await tokenFor({ user_name: 'bob', password });
    expect(await whoShows(fresh)).toMatchObject({ owner: 'user:bob' });
  });

  it('has keys that may do what the person may, and made keys that stay', async () => {
    await put('cid', { password, role: 'admin' });
    const make = async (key: object): Promise<CreatedKey> => {
      const answer = await send(
        'POST',
        '/api/admin/keys/',
        { name: 'c', role: 'admin', ...key },
        true,
        actingFor('user:cid', 'admin'),
      );
      return (await answer.json()) as CreatedKey;
    };
    const theirs = await make({ owner: 'user:cid' });
    const ofAStation = await make({});
    expect(ofAStation.created_by).toBe('user:cid');
    const roleOf = async ({ key }: CreatedKey) => {
      const caller = await whoShows(key);
      return typeof caller === 'number' ? caller : caller.role;
    };
    expect([await roleOf(theirs), await roleOf(ofAStation)]).toEqual(['admin', 'admin']);
    await put('cid', { role: 'submit' });
    expect([await roleOf(theirs), await roleOf(ofAStation)]).toEqual(['submit', 'admin']);
    await put('cid', { role: 'publish' });
    expect(await roleOf(theirs)).toBe('publish');
    await send('DELETE', '/api/admin/users/cid');
    expect([await roleOf(theirs), await roleOf(ofAStation)]).toEqual([401, 'admin']);
  });

  it.each([
    ['short', 'tR7#kq9Zw'],
    ['a run', '1234567890'],
    ['a run', 'abcdefghijkl'],
    ['a repeat', 'aaaaaaaaaaaab'],
    ['a repeat', 'abcabcabcabc'],
    ['a row of a keyboard', 'qwertzuiopasdf'],
    ['a pattern on a keyboard', '1qaz2wsx3edc'],
    ['the name and little more', 'caroline12'],
    ['the name among others', 'tR7#kq-Caroline-Zw0'],
    ['the name in other letters', 'C4r0l!ne2026'],
    ['one that everybody tries', 'Password123!'],
    ['one that everybody tries', 'P@ssw0rd123'],
    ['one that everybody tries', 'changeme2026'],
    ['one that a guesser of the place tries', 'Krankenhaus1!'],
  ])('has no password that is %s: %s', async (_what, weak) => {
    const answer = await put('caroline', { password: weak, role: 'submit' });
    expect((await answer.json()) as Problem).toMatchObject({ status: 422, parameter: 'password' });
  });

  it('that is new needs password and role', async () => {
    for (const [settings, parameter] of [
      [{ role: 'submit' }, 'password'],
      [{ password }, 'role'],
    ] as const) {
      expect((await (await put('dora', settings)).json()) as Problem).toMatchObject({ parameter });
    }
    expect((await send('DELETE', '/api/admin/users/dora')).status).toBe(404);
  });
});

describe('wrong passwords', () => {
  it('are slowed down: for a name from there, not for others', async () => {
    await put('eve', { password, role: 'submit' });
    await put('fay', { password, role: 'submit' });
    const from = '198.51.100.1';
    for (let time = 0; time < 5; time += 1) {
      expect((await logIn('eve', 'wrong', from)).status).toBe(401);
    }
    const blocked = await logIn('eve', password, from);
    expect(blocked.status).toBe(429);
    expect(Number(blocked.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await logIn('eve', password, '198.51.100.2')).status).toBe(200);
    expect((await logIn('fay', password, from)).status).toBe(200);
    await api.database.query(`UPDATE login_failures SET blocked_until = now()`);
    expect((await logIn('eve', password, from)).status).toBe(200);
    expect((await logIn('eve', 'wrong', from)).status).toBe(401);
  });

  it('are slowed down for an address that tries many names, of which some may exist', async () => {
    const from = '198.51.100.7';
    // As if it had tried nineteen before.
    await api.database.query(`INSERT INTO login_failures VALUES ($1, 19, now(), now())`, [
      keptSubject(api.operatorToken, `address:${from}`),
    ]);
    expect((await logIn('name1', 'wrong', from)).status).toBe(401);
    expect((await logIn('fay', password, from)).status).toBe(429);
  });

  it('many at once are no way around it', async () => {
    await put('gil', { password, role: 'submit' });
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => logIn('gil', 'wrong', '198.51.100.9')),
    );
    const looked = answers.filter(({ status }) => status === 401).length;
    // Two are looked at side by side: the last of them may begin before the other has failed.
    expect(looked).toBeLessThanOrEqual(7);
    expect(answers.every(({ status }) => status === 401 || status === 429)).toBe(true);
  }, 30_000);
});

describe('a token', () => {
  it('opens what it was asked for, at most what its maker may', async () => {
    await put('hal', { password, role: 'publish' });
    await api.postModel('m1');
    const login = { user_name: 'hal', password };
    const bound = await tokenFor({ ...login, human_readable_id: 'm1' });
    expect(await whoShows(bound)).toMatchObject({
      owner: 'user:hal',
      role: 'submit',
      human_readable_id: 'm1',
    });
    const wide = await tokenFor({ ...login, role: 'publish' });
    expect(await whoShows(wide)).toMatchObject({ role: 'publish', human_readable_id: null });
    expect((await askToken({ ...login, role: 'operate' })).status).toBe(403);
    expect((await askToken({ ...login, human_readable_id: 'none' })).status).toBe(550);
    expect((await askToken({})).status).toBe(401);
    // Half a login is none, also for whoever shows something else: it would be a token of that.
    for (const half of [{ user_name: 'hal' }, { password }]) {
      for (const owner of ['anonymous', 'operator']) {
        expect((await askToken(half, actingFor(owner))).status).toBe(422);
      }
    }
    // What its maker may no more, it may no more.
    await put('hal', { role: 'submit' });
    expect(await whoShows(wide)).toMatchObject({ role: 'submit' });
  });

  it('ends with its time, with a new password, and with the key that made it', async () => {
    await put('ida', { password, role: 'submit' });
    const short = await tokenFor({ user_name: 'ida', password, expires_in_s: 1 });
    const long = await tokenFor({ user_name: 'ida', password });
    await expect.poll(() => whoShows(short), { timeout: 5_000 }).toBe(401);
    const newer = `${password} staple`;
    await put('ida', { password: newer });
    expect(await whoShows(long)).toBe(401);
    const after = await tokenFor({ user_name: 'ida', password: newer });
    expect(await whoShows(after)).toMatchObject({ owner: 'user:ida' });
    // Be it that a clock went back: it is another password.
    await api.database.query(
      `UPDATE users SET password_at = password_at - interval '1 day' WHERE user_name = 'ida'`,
    );
    expect(await whoShows(after)).toBe(401);

    const made = await send('POST', '/api/admin/keys/', { name: 'k', role: 'submit' });
    const { id, owner } = (await made.json()) as CreatedKey;
    const ofKey = await tokenFor({}, actingFor(owner));
    expect(await whoShows(ofKey)).toMatchObject({ owner, credential: `key:${id}` });
    await send('DELETE', `/api/admin/keys/${id}`);
    expect(await whoShows(ofKey)).toBe(401);
  });

  it('is none when anything of it is changed, or signed by another secret', async () => {
    const other = await runPrivateApi({ DATABASE_URL: api.config.DATABASE_URL });
    const foreign = await other.call(
      '/api/tokens/',
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...actingFor('anonymous') },
        body: JSON.stringify({ user_name: 'ada', password }),
      },
      publicApiToken(other.operatorToken),
    );
    await other.close();
    const token = await tokenFor({ user_name: 'ada', password });
    const [claims = '', mac = ''] = token.slice(4).split('.');
    const more = JSON.parse(Buffer.from(claims, 'base64url').toString()) as object;
    const raised = Buffer.from(JSON.stringify({ ...more, r: 'admin' })).toString('base64url');
    for (const wrong of [
      ((await foreign.json()) as IssuedToken).token,
      `ist_${raised}.${mac}`,
      `ist_${claims}.${'A'.repeat(43)}`,
      `ist_${claims}.`,
      `ist_.${mac}`,
      doorToken,
    ]) {
      expect(await whoShows(wrong)).toBe(401);
    }
  });
});

describe('BOOTSTRAP_USER', () => {
  it('makes a first person with the role submit, and changes nobody', async () => {
    const { url } = await createTestDatabase();
    const settings = { DATABASE_URL: url, BOOTSTRAP_USER: 'first', BOOTSTRAP_PASSWORD: password };
    const first = await runPrivateApi(settings);
    const usersOf = async (of: RunningPrivateApi) =>
      (await (await of.call('/api/admin/users/')).json()) as UserDetails[];
    expect(await usersOf(first)).toMatchObject([{ user_name: 'first', role: 'submit' }]);
    await first.call('/api/admin/users/first', { method: 'DELETE' });
    await first.close();
    const again = await runPrivateApi({ ...settings, BOOTSTRAP_PASSWORD: 'another long password' });
    expect((await usersOf(again))[0]?.locked_at).not.toBeNull();
    await again.close();
  });

  it.each([[undefined], ['short'], ['1234567890'], ['P@ssw0rd123']])(
    'with the password %s ends the start',
    async (weak) => {
      const { url } = await createTestDatabase();
      const settings = { DATABASE_URL: url, BOOTSTRAP_USER: 'first' };
      const start = runPrivateApi(
        weak === undefined ? settings : { ...settings, BOOTSTRAP_PASSWORD: weak },
      );
      await expect(start).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
    },
  );
});
