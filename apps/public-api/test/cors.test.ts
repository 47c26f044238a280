import { describe, expect, test } from 'vitest';
import { readConfig } from '../src/config.js';
import { newOperatorToken } from '@inference-server/service-kit';
import { send, startPair, uid } from './servers.js';

const friend = 'https://portal.example.org';
const stranger = 'https://example.org';
const origins = { corsOrigins: [friend, 'http://localhost:3000'] };

/** The answer to a question of a browser before it sends the request itself. */
async function preflight(origin: string, options = {}, path = `/api/tasks/${uid}`) {
  const { url } = await startPair((_request, response) => response.end('{}'), options);
  const headers = {
    origin,
    'access-control-request-method': 'DELETE',
    'access-control-request-headers': 'authorization',
  };
  return send(url + path, { method: 'OPTIONS', headers });
}

const corsHeadersOf = (headers: object) =>
  Object.keys(headers).filter((name) => name.startsWith('access-control'));

describe('without CORS_ORIGINS', () => {
  test('no origin is let in: a preflight is a method that is not there', async () => {
    for (const origin of [friend, 'null', '*', 'http://127.0.0.1']) {
      const answer = await preflight(origin, { anonymousRole: 'publish' });
      expect([403, 405]).toContain(answer.status);
      expect(corsHeadersOf(answer.headers)).toEqual([]);
    }
    const { url } = await startPair((_request, response) => response.end('{}'));
    const answer = await send(`${url}/healthz`, { headers: { origin: friend } });
    expect([answer.status, corsHeadersOf(answer.headers)]).toEqual([200, []]);
  });
});

describe('with CORS_ORIGINS', () => {
  test('a preflight of a named origin is answered, before anybody asks for a key', async () => {
    const answer = await preflight(friend, { ...origins, anonymousRole: 'none' });
    expect([answer.status, answer.text]).toEqual([204, '']);
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': friend,
      'access-control-max-age': '600',
      vary: 'Origin',
    });
    expect(answer.headers['access-control-allow-methods']?.split(', ').toSorted()).toEqual(
      ['DELETE', 'GET', 'HEAD', 'POST', 'PUT'].toSorted(),
    );
    const allowed = answer.headers['access-control-allow-headers']?.split(', ');
    for (const name of ['authorization', 'x-token', 'content-type', 'idempotency-key', 'range']) {
      expect(allowed).toContain(name);
    }
    expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');
  });

  test.each([
    stranger,
    'null',
    '*',
    `${friend}.example.com`,
    friend.replace('s:', ':'),
    `${friend}:8443`,
  ])('no other origin is let in: %s', async (origin) => {
    const answer = await preflight(origin, origins);
    expect(answer.status).not.toBe(204);
    expect(corsHeadersOf(answer.headers)).toEqual([]);
    expect(answer.headers.vary).toBe('Origin');
  });

  test('an answer and a refusal can be read by the named origin, with what stands beside them', async () => {
    const { url } = await startPair(
      (_request, response) => response.setHeader('access-control-allow-origin', '*').end('{}'),
      { ...origins, anonymousRole: 'none' },
    );
    for (const [path, status] of [
      ['/healthz', 200],
      ['/api/models/', 401],
      ['/nothing', 404],
    ] as const) {
      const answer = await send(url + path, { headers: { origin: friend } });
      expect(answer.status).toBe(status);
      expect(answer.headers['access-control-allow-origin']).toBe(friend);
      expect(answer.headers['access-control-expose-headers']).toContain('retry-after');
      const other = await send(url + path, { headers: { origin: stranger } });
      expect(corsHeadersOf(other.headers)).toEqual([]);
    }
  });

  test('an OPTIONS that is no preflight is what it was', async () => {
    const { url } = await startPair((_request, response) => response.end('{}'), origins);
    const answer = await send(`${url}/healthz`, { method: 'OPTIONS', headers: { origin: friend } });
    expect([answer.status, answer.headers.allow]).toEqual([405, 'GET, HEAD']);
    expect(answer.headers['content-type']).toContain('application/problem+json');
  });

  test('a page elsewhere needs a key, also one of a named origin', async () => {
    const { url } = await startPair((_request, response) => response.end('{}'), origins);
    const answer = await send(`${url}/api/models/`, { headers: { origin: friend } });
    expect(answer.status).toBe(403);
  });
});

describe('the setting', () => {
  const read = (CORS_ORIGINS: string) =>
    readConfig({ CORS_ORIGINS, PUBLIC_API_TOKEN: newOperatorToken() }).corsOrigins;

  test('holds origins, with commas between', () => {
    expect(read('')).toEqual([]);
    expect(read(`${friend}, http://localhost:3000,`)).toEqual(origins.corsOrigins);
  });

  test.each(['*', 'null', 'portal.example.org', `${friend}/`, `${friend}/a`, `${friend}:443`])(
    'does not hold %s',
    (text) => {
      expect(() => read(`${friend},${text}`)).toThrow(/^CORS_ORIGINS: /);
    },
  );
});
