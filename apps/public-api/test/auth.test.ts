import { describe, expect, test } from 'vitest';
import type { PublicApiOptions } from '../src/app.js';
import { problemType, send, startPair, uid } from './servers.js';

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
});
