import { once } from 'node:events';
import {
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
} from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { codeOfStatus } from '@inference-server/contracts';
import { closeHttpServer } from '@inference-server/service-kit';
import {
  deferred,
  identifying,
  keyOf,
  problemOf,
  problemType,
  send,
  startPair,
  startPublicApi,
  startUpstream,
  uid,
} from './servers.js';

const post = '/api/tasks/?human_readable_id=copy';

describe('what reaches private-api', () => {
  interface Seen {
    method: string | undefined;
    url: string | undefined;
    headers: IncomingHttpHeaders;
    body: string;
  }

  async function startMirror(): Promise<{ url: string; seen: Seen[] }> {
    const seen: Seen[] = [];
    const mirror: RequestListener = (request, response) => {
      void text(request).then((body) => {
        seen.push({ method: request.method, url: request.url, headers: request.headers, body });
        response.end('{}');
      });
    };
    const { url } = await startPair(identifying({}, mirror));
    return { url, seen };
  }

  test('the request as it is, under our token', async () => {
    const { url, seen } = await startMirror();
    const query = '?human_readable_id=a%20b&model_human_readable_id=%C3%A4';
    await fetch(`${url}/api/tasks${query}`, {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary="x y"' },
      body: '--x y\r\nnot even a form',
    });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: `/api/tasks${query}`,
      body: '--x y\r\nnot even a form',
      headers: {
        authorization: 'Bearer the-token',
        'content-type': 'multipart/form-data; boundary="x y"',
        'content-length': '22',
      },
    });
  });

  test('nothing that speaks for the caller, and no header of the connection', async () => {
    const { url, seen } = await startMirror();
    const headers = {
      'x-token': keyOf('a'),
      'inference-caller': '{"owner":"somebody else"}',
      'x-forwarded-for': '10.0.0.1',
      'x-forwarded-host': 'example.org',
      forwarded: 'for=10.0.0.1',
      cookie: 'a=b',
      te: 'trailers',
      connection: 'keep-alive, x-mine, authorization',
      'x-mine': '1',
      'keep-alive': 'timeout=1',
    };
    expect((await send(`${url}/api/models/`, { headers })).status).toBe(200);
    expect(Object.keys(seen[0]?.headers ?? {}).sort()).toEqual([
      'authorization',
      'connection',
      'host',
      'inference-caller',
    ]);
    expect(seen[0]?.headers.authorization).toBe('Bearer the-token');
    expect(JSON.parse(String(seen[0]?.headers['inference-caller']))).toEqual({
      owner: 'key:a',
      role: 'submit',
      credential: 'key:a',
      address: '127.0.0.1',
    });
  });

  test('the key of a post, byte for byte', async () => {
    const { url, seen } = await startMirror();
    const key = '"a" \xe9\xff b';
    const headers = { 'idempotency-key': key };
    expect((await send(url + post, { method: 'POST', headers })).status).toBe(200);
    expect(seen[0]?.headers['idempotency-key']).toBe(key);
    const twice = { 'idempotency-key': ['a', 'a'] };
    expect((await send(url + post, { method: 'POST', headers: twice })).status).toBe(400);
    expect(seen).toHaveLength(1);
  });

  test('no Expect: the caller gets its 100 here', async () => {
    const { url, seen } = await startMirror();
    const request = httpRequest(url + post, {
      method: 'POST',
      headers: { expect: '100-continue' },
    });
    request.flushHeaders();
    await once(request, 'continue');
    request.end('the body');
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).toBe(200);
    expect(seen[0]?.headers.expect).toBeUndefined();
    expect(seen[0]?.body).toBe('the body');
  });

  test.each([
    ['a chunked body', { 'transfer-encoding': 'chunked' }, 'chunked body'],
    ['an empty chunked body', { 'transfer-encoding': 'chunked' }, ''],
    [
      'an empty form',
      { 'content-type': 'multipart/form-data; boundary=x', 'content-length': 0 },
      '',
    ],
    ['no body at all', {}, ''],
  ])('%s', async (_name, headers, body) => {
    const { url, seen } = await startMirror();
    expect((await send(url + post, { method: 'POST', headers }, body)).status).toBe(200);
    expect(seen[0]?.body).toBe(body);
  });

  test.each([
    ['GET', '/internal/consumers/x'],
    ['PUT', '/internal/consumers/x'],
    ['POST', '/nothing'],
    ['HEAD', '/internal/consumers/x'],
    ['OPTIONS', '/internal/consumers/x'],
    ['GET', `/api/tasks/${uid}/input`],
    ['GET', '//api/models/'],
    ['GET', '/api/%2e%2e/internal/consumers'],
  ])('never %s %s', async (method, path) => {
    const { url, seen } = await startMirror();
    const answer = await send(url + path, { method }, method === 'POST' ? 'some body' : undefined);
    expect(answer.status).toBe(404);
    expect(answer.headers['content-type']).toBe(problemType);
    if (method !== 'HEAD') expect(JSON.parse(answer.text)).toMatchObject({ code: 'NOT_FOUND' });
    expect(seen).toEqual([]);
  });

  test.each(['..', '%2e%2e', '.', '%2e', '..%2finternal', '%00', 'short', 'A'.repeat(600)])(
    'no task uid out of form: %s',
    async (bad) => {
      const { url, seen } = await startMirror();
      const { host } = new URL(url);
      const [hostname, port] = host.split(':');
      const answer = await send(url, { hostname, port, path: `/api/tasks/${bad}` });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(JSON.parse(answer.text)).toHaveProperty('code');
      expect(seen).toEqual([]);
    },
  );
});

describe('what comes back', () => {
  test.each([200, 404, 409, 422, 500, 503, 550, 551, 552, 553, 554])(
    '%i with its headers and body, asked for once',
    async (status) => {
      let asked = 0;
      const problem = JSON.stringify({
        code: codeOfStatus(status),
        detail: 'ä',
        odd: [1, { a: 2 }],
      });
      const { url } = await startPair((_request, response) => {
        asked += 1;
        response.writeHead(status, {
          'content-type': problemType,
          'retry-after': '7',
          'x-odd': 'kept',
          'x-named': 'dropped',
          connection: 'keep-alive, X-Named',
          'keep-alive': 'timeout=33',
        });
        response.end(problem);
      });
      const answer = await send(`${url}/api/tasks/${uid}`, {});
      expect(answer.status).toBe(status);
      expect(answer.text).toBe(problem);
      expect(answer.headers).toMatchObject({
        'content-type': problemType,
        'retry-after': '7',
        'x-odd': 'kept',
      });
      expect(answer.headers['x-named']).toBeUndefined();
      expect(answer.headers['keep-alive']).not.toBe('timeout=33');
      expect(asked).toBe(1);
    },
  );

  test('a download, while it is still being sent', async () => {
    const rest = deferred();
    const { url } = await startPair((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/zip', 'content-length': 10 });
      response.write('first');
      void rest.promise.then(() => response.end('later'));
    });
    const answer = await fetch(`${url}/api/tasks/${uid}`);
    expect(answer.headers.get('content-length')).toBe('10');
    const reader = answer.body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('first');
    rest.resolve();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('later');
  });

  test('500 when private-api does not know our token', async () => {
    const { url } = await startPair((_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Bearer', 'content-length': 2 }).end('{}');
    });
    const answer = await fetch(`${url}/api/models/`);
    expect(answer.status).toBe(500);
    expect(answer.headers.get('www-authenticate')).toBeNull();
    expect(await problemOf(answer)).toMatchObject({ code: 'INTERNAL' });
  });
});

test('an upload reaches private-api while it is still being sent', async () => {
  const first = deferred<string>();
  const { url } = await startPair((request, response) => {
    request.once('data', (chunk: Buffer) => first.resolve(chunk.toString()));
    request.on('end', () => response.end('{}'));
  });
  const request = httpRequest(url + post, { method: 'POST', headers: { 'content-length': 10 } });
  request.write('first');
  expect(await first.promise).toBe('first');
  request.end('later');
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  answer.resume();
  expect(answer.statusCode).toBe(200);
});

describe('private-api is away', () => {
  test('503 with Retry-After', async () => {
    const { url } = await startPublicApi({ privateApiUrl: 'http://127.0.0.1:9' });
    const answer = await fetch(`${url}/api/models/`);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(answer.headers.get('content-type')).toBe(problemType);
    expect(await problemOf(answer)).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });

  test('503 for an upload too, and the connection goes on', async () => {
    const { url } = await startPublicApi({ privateApiUrl: 'http://127.0.0.1:9' });
    for (let round = 0; round < 2; round += 1) {
      const answer = await fetch(url + post, {
        method: 'POST',
        body: Buffer.alloc(20 * 1024 ** 2),
      });
      expect(answer.status).toBe(503);
    }
  });

  test('503 when it hangs up in the middle of an upload', async () => {
    const { url } = await startPair((request) => {
      request.once('data', () => request.socket.destroy());
    });
    const answer = await fetch(url + post, { method: 'POST', body: Buffer.alloc(20 * 1024 ** 2) });
    expect(answer.status).toBe(503);
  });

  test.each([{ 'content-length': 1_000_000 }, {}])(
    'a download that it cuts is cut, not ended (%j)',
    async (headers) => {
      const { url } = await startPair((_request, response) => {
        response.writeHead(200, headers);
        response.write('x'.repeat(1000), () => response.destroy());
      });
      const answer = await fetch(`${url}/api/tasks/${uid}`);
      expect(answer.status).toBe(200);
      await expect(answer.arrayBuffer()).rejects.toThrow();
    },
  );
});

describe('a caller that goes away frees private-api', () => {
  test('while a request is held', async () => {
    const reached = deferred();
    const freed = deferred();
    const { url } = await startPair((_request, response) => {
      response.on('close', () => freed.resolve());
      reached.resolve();
    });
    const caller = new AbortController();
    const answer = fetch(`${url}/api/tasks/${uid}?wait=60`, { signal: caller.signal });
    await reached.promise;
    caller.abort();
    await expect(answer).rejects.toThrow();
    await freed.promise;
  });

  test('in the middle of an upload, which is seen as cut', async () => {
    const reached = deferred();
    const cut = deferred<Error>();
    const { url } = await startPair((request) => {
      request.once('data', () => reached.resolve());
      request.on('error', cut.resolve);
    });
    const request = httpRequest(url + post, {
      method: 'POST',
      headers: { 'content-length': 1000 },
    });
    request.on('error', () => undefined);
    request.write('x');
    await reached.promise;
    request.destroy();
    expect(await cut.promise).toMatchObject({ code: 'ECONNRESET' });
  });

  test('in the middle of a download', async () => {
    const freed = deferred<boolean>();
    const { url } = await startPair((_request, response) => {
      response.on('close', () => freed.resolve(response.writableFinished));
      response.writeHead(200);
      response.write('x');
    });
    const caller = new AbortController();
    const answer = await fetch(`${url}/api/tasks/${uid}`, { signal: caller.signal });
    await answer.body?.getReader().read();
    caller.abort();
    expect(await freed.promise).toBe(false);
  });
});

test('closing lets what is in flight finish', async () => {
  const reached = deferred();
  const go = deferred();
  const upstream = await startUpstream((_request, response) => {
    reached.resolve();
    void go.promise.then(() => response.end('the end'));
  });
  const { url, app } = await startPublicApi({ privateApiUrl: upstream.url });
  const answer = fetch(`${url}/api/tasks/${uid}`);
  await reached.promise;
  const closed = closeHttpServer(app, 10_000);
  go.resolve();
  expect(await (await answer).text()).toBe('the end');
  await closed;
});

test('closing answers what is held on purpose, but for an answer that has begun', async () => {
  const reached = deferred();
  const go = deferred();
  const upstream = await startUpstream((request, response) => {
    if (request.url?.includes('begun') === true) {
      response.write('the ');
      void go.promise.then(() => response.end('end'));
    } else {
      reached.resolve();
    }
  });
  const { url, app } = await startPublicApi({ privateApiUrl: upstream.url });
  const begun = await fetch(`${url}/api/tasks/${'begun'.padEnd(43, 'x')}?wait=60`);
  const held = fetch(`${url}/api/tasks/${uid}?wait=60`);
  await reached.promise;
  const closed = closeHttpServer(app, 10_000);
  const answer = await held;
  expect([answer.status, answer.headers.has('retry-after')]).toEqual([503, true]);
  expect(await answer.json()).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  go.resolve();
  expect(await begun.text()).toBe('the end');
  await closed;
});
