import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { hashPassword } from '../src/modules/users/password-hash.js';
import { keptSubject } from '../src/modules/callers/login-failures.js';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';

const password = 'correct horse battery';
let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({ PASSWORD_HASH_COST: 14 });
  for (const name of ['ada', 'bob']) {
    const answer = await api.call(`/api/admin/users/${name}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ password, role: 'submit' }),
    });
    expect(answer.status).toBe(200);
  }
});
beforeEach(() => api.database.query(`DELETE FROM login_failures`));
afterAll(() => api.close());

async function logIn(user_name: string, address: string, tried = password, at = api) {
  const answer = await at.call(
    '/internal/callers/identify',
    {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_name, password: tried, address }),
    },
    publicApiToken(at.operatorToken),
  );
  const { detail } = (await answer.json()) as Partial<Problem>;
  return { status: answer.status, detail, retryAfterS: Number(answer.headers.get('retry-after')) };
}
const fail = (name: string, address: string) => logIn(name, address, 'wrong');

const kept = (subject: string) => keptSubject(api.operatorToken, subject);

/** As if there had been so many wrong passwords, the last of them a while ago. */
const failed = (subject: string, failures: number) =>
  api.database.query(`INSERT INTO login_failures VALUES ($1, $2, now(), now())`, [
    kept(subject),
    failures,
  ]);
/** For how long the last wrong password keeps the next one waiting. */
async function waitsS(subject: string) {
  const [row] = await api.database.query<{ s: number }>(
    `SELECT extract(epoch FROM blocked_until - failed_at)::float8 AS s
       FROM login_failures WHERE subject = $1`,
    [kept(subject)],
  );
  return row?.s;
}
const letAgain = () => api.database.query(`UPDATE login_failures SET blocked_until = now()`);

it('what was typed as a name is kept nowhere as it is: it may be a password', async () => {
  await fail('hunter2-in-the-wrong-field', '198.51.100.9');
  const rows = await api.database.query<{ subject: string }>('SELECT subject FROM login_failures');
  expect(rows.length).toBeGreaterThan(1);
  expect(JSON.stringify(rows)).not.toContain('hunter2');
});

describe('each wrong password keeps the next one waiting twice as long', () => {
  it('of a name from one address: from the fifth on, 15 minutes at most', async () => {
    const subject = 'user:ada from 198.51.100.1';
    await failed(subject, 3);
    for (const s of [0, 1, 2, 4, 8]) {
      expect(await fail('ada', '198.51.100.1')).toMatchObject({ status: 401 });
      expect(await waitsS(subject)).toBe(s);
      await letAgain();
    }
    await api.database.query(`UPDATE login_failures SET failures = 13 WHERE subject = $1`, [
      kept(subject),
    ]);
    await fail('ada', '198.51.100.1');
    expect(await waitsS(subject)).toBe(512);
    await letAgain();
    await fail('ada', '198.51.100.1');
    expect(await waitsS(subject)).toBe(900);
    const { status, retryAfterS } = await logIn('ada', '198.51.100.1');
    expect(status).toBe(429);
    expect(retryAfterS).toBeGreaterThan(890);
    expect(retryAfterS).toBeLessThanOrEqual(900);
  });

  it('of a name from everywhere: from the fiftieth on, 10 seconds at most', async () => {
    await failed('user:ada', 48);
    for (const [at, s] of [0, 1, 2, 4, 8, 10, 10].entries()) {
      expect(await fail('ada', `198.51.100.${10 + at}`)).toMatchObject({ status: 401 });
      expect(await waitsS('user:ada')).toBe(s);
      if (s === 1) expect(await logIn('ada', '198.51.100.99')).toMatchObject({ status: 429 });
      await letAgain();
    }
    expect(await waitsS('user:bob')).toBeUndefined();
  });

  it('of an address that is one of an IPv6 network', async () => {
    await failed('address:2001:db8:0:7::/64', 19);
    expect(await fail('nobody', '2001:db8:0:7::1')).toMatchObject({ status: 401 });
    expect(await logIn('ada', '2001:db8:0:7:9:9:9:9')).toMatchObject({ status: 429 });
    expect(await logIn('ada', '2001:db8:0:8::1')).toMatchObject({ status: 200 });
    await failed('address:203.0.113.5', 19);
    expect(await fail('nobody', '::ffff:203.0.113.5')).toMatchObject({ status: 401 });
    expect(await logIn('ada', '203.0.113.5')).toMatchObject({ status: 429 });
  });
});

it.each([
  ['as many as the setting says', 2, [401, 401, 429]],
  ['none where the setting is 0', 0, Array<number>(25).fill(401)],
])('wrong passwords of an address keep it waiting after %s', async (_what, most, statuses) => {
  const own = await runPrivateApi({
    ...{ MAX_WRONG_PASSWORDS_PER_ADDRESS: most, PASSWORD_HASH_COST: 10 },
  });
  try {
    for (const [at, status] of statuses.entries()) {
      const answer = await logIn(`nobody-${at}`, '198.51.100.70', 'wrong', own);
      expect(answer).toMatchObject({ status });
    }
  } finally {
    await own.close();
  }
});

it('where a person has logged in of late nobody else’s wrong passwords keep them out', async () => {
  expect(await logIn('ada', '198.51.100.40')).toMatchObject({ status: 200 });
  await failed('user:ada', 90);
  await fail('ada', '198.51.100.41');
  expect(await logIn('ada', '198.51.100.42')).toMatchObject({ status: 429 });
  expect(await logIn('ada', '198.51.100.40')).toMatchObject({ status: 200 });
  // One's own still do.
  await failed('user:ada from 198.51.100.40', 30);
  await fail('ada', '198.51.100.40');
  expect(await logIn('ada', '198.51.100.40')).toMatchObject({ status: 429 });
  await letAgain();
  await fail('ada', '198.51.100.43');
  await api.database.query(`UPDATE login_failures SET blocked_until = now() WHERE subject <> $1`, [
    kept('user:ada'),
  ]);
  await api.database.query(`UPDATE login_places SET logged_in_at = now() - interval '31 days'`);
  expect(await logIn('ada', '198.51.100.40')).toMatchObject({ status: 429 });
});

it('a password that was hashed at another cost is hashed anew at its next login', async () => {
  const hashOf = async () => {
    const [row] = await api.database.query<{ hash: string }>(
      `SELECT password_hash AS hash FROM users WHERE user_name = 'bob'`,
    );
    return row?.hash ?? '';
  };
  await api.database.query(`UPDATE users SET password_hash = $1 WHERE user_name = 'bob'`, [
    await hashPassword(password, 13),
  ]);
  expect(await logIn('bob', '198.51.100.60', 'wrong')).toMatchObject({ status: 401 });
  expect(await hashOf()).toContain('$ln=13,');
  expect(await logIn('bob', '198.51.100.60')).toMatchObject({ status: 200 });
  const renewed = await hashOf();
  expect(renewed).toContain('$ln=14,');
  expect(await logIn('bob', '198.51.100.60')).toMatchObject({ status: 200 });
  expect(await hashOf()).toBe(renewed);
});

describe('many logins at once', () => {
  it('that are blocked keep nobody else waiting', async () => {
    await api.database.query(
      `INSERT INTO login_failures VALUES ($1, 99, now(), now() + interval '1 hour')`,
      [kept('user:ada')],
    );
    const blocked = Array.from({ length: 80 }, (_, at) => logIn('ada', `192.0.2.${at}`));
    expect(await logIn('bob', '198.51.100.50')).toMatchObject({ status: 200 });
    for (const { status, retryAfterS } of await Promise.all(blocked)) {
      expect(status).toBe(429);
      expect(retryAfterS).toBeGreaterThan(3_000);
    }
  });

  it('of one address keep those of others not waiting', async () => {
    const many = Array.from({ length: 40 }, (_, at) => fail(`nobody${at}`, '198.51.100.60'));
    const other = logIn('bob', '198.51.100.61');
    const answers = await Promise.all(many);
    expect(await other).toMatchObject({ status: 200 });
    const refused = answers.filter(({ detail }) => detail === 'Too many log in at once.');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.every(({ status }) => status === 429)).toBe(true);
  });
});
