import { describe, expect, test } from 'vitest';
import type { PublicApiOptions } from '../src/app.js';
import { problemType, send, startPair, startPublicApi, uid } from './servers.js';

const postModel = ['POST', '/api/models/?container_tag=a&human_readable_id=a'] as const;
const postModelAsTask = ['POST', '/api/tasks?container_tag=a&human_readable_id=a'] as const;
const postModelByEmptyTag = ['POST', '/api/tasks/?container%5Ftag='] as const;
const postTask = ['POST', '/api/tasks/?human_readable_id=a'] as const;
const getTask = ['GET', `/api/tasks/${uid}`] as const;
const listModels = ['GET', '/api/models'] as const;
const putModel = ['PUT', '/api/models/a%20b?container_tag=a'] as const;
const deleteModel = ['DELETE', '/api/models/a:b'] as const;
const getModel = ['GET', '/api/models/a.b/'] as const;

/** The status of an anonymous request and the code of its problem; 200 when it was relayed. */
async function ask(
  [method, path]: readonly [string, string],
  options: Partial<PublicApiOptions>,
  headers: Record<string, string> = {},
): Promise<{ status: number; code?: unknown; detail?: string }> {
  const { url } = await startPair((_request, response) => response.end('{}'), options);
  const answer = await send(url + path, { method, headers });
  if (answer.status !== 200) expect(answer.headers['content-type']).toBe(problemType);
  return { status: answer.status, ...(JSON.parse(answer.text) as object) };
}

describe('ANONYMOUS_ROLE', () => {
  test.each([postModel, putModel, deleteModel, getModel, postTask, getTask, listModels])(
    'none: 401 for %s %s',
    async (...route) => {
      const answer = await ask(route, { anonymousRole: 'none' });
      expect(answer).toMatchObject({ status: 401, code: 'UNAUTHORIZED' });
    },
  );

  test.each([postTask, getTask, listModels, getModel])(
    'submit: 200 for %s %s',
    async (...route) => {
      expect(await ask(route, { anonymousRole: 'submit' })).toMatchObject({ status: 200 });
    },
  );

  test.each([postModel, postModelAsTask, postModelByEmptyTag, putModel, deleteModel])(
    'submit: 403 for %s %s',
    async (...route) => {
      const answer = await ask(route, { anonymousRole: 'submit' });
      expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
      expect(answer.detail).toContain('publish');
    },
  );

  test.each([postModel, postModelAsTask, putModel, deleteModel, postTask, getTask, getModel])(
    'publish: 200 for %s %s',
    async (...route) => {
      expect(await ask(route, {})).toMatchObject({ status: 200 });
    },
  );

  test.each(['/', '/healthz', '/docs', '/openapi.json'])('none: %s is open', async (path) => {
    const { url } = await startPair((_request, response) => response.end('{}'), {
      anonymousRole: 'none',
    });
    const answer = await send(url + path, { headers: { host: 'inference.example' } });
    expect(answer.status).toBe(200);
  });
});

test.each(['/api/tasks/#?container_tag=a&human_readable_id=a', '/api/tasks#a?container_tag=a'])(
  'an address with a fragment, which readers understand in two ways, is refused: %s',
  async (path) => {
    let reached = false;
    const { url } = await startPair(
      (_request, response) => {
        reached = true;
        response.end('{}');
      },
      { allowPublicPostModel: false },
    );
    const answer = await send(url, { method: 'POST', path });
    expect([answer.status, reached]).toEqual([400, false]);
  },
);

test.each([postModel, postModelAsTask, postModelByEmptyTag, putModel, deleteModel])(
  'without ALLOW_PUBLIC_POST_MODEL, 403 naming it for %s %s',
  async (...route) => {
    const answer = await ask(route, { allowPublicPostModel: false });
    expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(answer.detail).toContain('ALLOW_PUBLIC_POST_MODEL');
  },
);

describe('anonymous callers', () => {
  test.each([
    'localhost',
    'LOCALHOST:8000',
    '127.0.0.1:8000',
    '127.250.0.9',
    '[::1]',
    '[::1]:8000',
  ])('may say Host: %s', async (host) => {
    expect(await ask(postTask, {}, { host })).toMatchObject({ status: 200 });
  });

  test.each([
    'inference.example',
    'localhost.example',
    'example-localhost',
    '127.0.0.1.example',
    '127.0.0.256',
    '128.0.0.1',
    '0.0.0.0',
    '[::]',
  ])('may not say Host: %s', async (host) => {
    const answer = await ask(getTask, {}, { host });
    expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
  });

  test.each(['::1', 'localhost@example', 'localhost:8000:1'])(
    'may not say what is no Host: %s',
    async (host) => {
      const answer = await ask(getTask, {}, { host });
      expect(answer).toMatchObject({ status: 400, code: 'MALFORMED_REQUEST' });
    },
  );

  test.each([
    ['localhost:8000', 'http://localhost:8000'],
    ['localhost', 'https://localhost'],
    ['[::1]:80', 'http://[::1]:80'],
  ])('at %s may come from the page %s', async (host, origin) => {
    expect(await ask(postTask, {}, { host, origin })).toMatchObject({ status: 200 });
  });

  test.each([
    ['localhost:8000', 'http://localhost:3000'],
    ['localhost:8000', 'http://127.0.0.1:8000'],
    ['localhost:8000', 'https://example.org'],
    ['localhost:8000', 'http://example.org@localhost:8000'],
    ['localhost:8000', 'null'],
    ['localhost:8000', ''],
  ])('at %s may not come from the page %s', async (host, origin) => {
    const answer = await ask(postTask, {}, { host, origin });
    expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
  });

  test.each([
    [403, { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image' }],
    [403, { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'empty' }],
    [403, { 'sec-fetch-site': 'same-site', 'sec-fetch-dest': 'iframe' }],
    [403, { 'sec-fetch-site': 'cross-site' }],
    [200, { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'document' }],
    [200, { 'sec-fetch-site': 'same-origin', 'sec-fetch-dest': 'empty' }],
    [200, { 'sec-fetch-site': 'none', 'sec-fetch-dest': 'document' }],
  ])('are answered %i where a browser says %j', async (status, headers) => {
    expect(await ask(getTask, {}, { host: 'localhost', ...headers })).toMatchObject({ status });
  });

  const [local, far, proxy] = ['127.0.0.1', '192.0.2.7', '127.0.0.0/8'];

  test.each([
    { forwarded: `for=${local}` },
    { via: '1.1 gate' },
    { 'x-real-ip': local },
    { 'x-forwarded-for': local },
    { 'x-forwarded-for': far },
    { 'x-forwarded-host': 'localhost' },
    { 'x-forwarded-proto': 'https' },
  ])('may not come by a proxy that says %j', async (headers) => {
    const answer = await ask(getTask, {}, { host: 'localhost', ...headers });
    expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(answer.detail).toContain('proxy');
    // Of one that is trusted and tells of nobody, or of somebody elsewhere, they may neither.
    const isToldOf = headers['x-forwarded-for'] === local;
    const trusted = await ask(
      getTask,
      { trustedProxies: [proxy] },
      { host: 'localhost', ...headers },
    );
    expect(trusted.status).toBe(isToldOf ? 200 : 403);
  });

  test.each([
    ['127.0.0.1', 503],
    ['127.3.2.1', 503],
    ['::1', 503],
    ['::ffff:127.0.0.1', 503],
    [far, 403],
    ['10.127.0.0', 403],
    [`::ffff:${far}`, 403],
    ['fe80::1', 403],
  ])('from %s: %i, be it that Host says localhost', async (remoteAddress, status) => {
    // Whoever is let through finds nobody.
    const privateApiUrl = 'http://127.0.0.1:9';
    const [method, url] = getTask;
    for (const trustedProxies of [[], [remoteAddress]]) {
      const { app } = await startPublicApi({ privateApiUrl, trustedProxies });
      // Of a trusted one, too: the machine that it speaks for is not this one.
      const headers = { host: 'localhost', ...(trustedProxies[0] && { 'x-forwarded-for': local }) };
      const answer = await app.inject({ method, url, remoteAddress, headers });
      expect([trustedProxies, answer.statusCode]).toEqual([trustedProxies, status]);
    }
  });
});
