import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http';
import { describe, expect, test } from 'vitest';
import { isOipAddress, publicRoutes } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import { knownForMs } from '@inference-server/service-kit';
import type { PublicApiOptions } from '../../src/app.js';
import {
  deferred,
  identifying,
  keyOf,
  send,
  someToken,
  startPair,
  startPublicApi,
  uid,
  wrongKey,
} from '../servers.js';

const task = `/api/tasks/${uid}`;
const models = '/api/models/';
const aKey = keyOf('a');
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** Answers with what it was told of the caller. */
const mirror: RequestListener = (request, response) =>
  response.end(request.headers['inference-caller']);

/** A server whose private-api knows one caller, and is asked whose a key is so many times. */
async function startAsked(
  who: Parameters<typeof identifying>[0],
  handler: RequestListener,
  options?: Partial<PublicApiOptions>,
) {
  let asked = 0;
  const answering = identifying(who, handler);
  const { url } = await startPair((request, response) => {
    if (request.url === '/internal/callers/identify') asked += 1;
    answering(request, response);
  }, options);
  /** Until it was asked so many times more. */
  const askedMore = async (times: number) => {
    const wanted = asked + times;
    expect(await waitUntil(async () => asked >= wanted, { timeoutMs: 10_000 })).toBe(true);
  };
  return { url, asked: () => asked, askedMore };
}

const startMirror = (
  who: Parameters<typeof identifying>[0] = {},
  options: Partial<PublicApiOptions> = { anonymousRole: 'none' },
) => startAsked(who, mirror, options);

describe('a key', () => {
  test.each([
    ['Authorization: Bearer', bearer(aKey)],
    ['Authorization: bearer', { authorization: `bearer ${aKey}` }],
    ['X-Token', { 'x-token': aKey }],
    ['both, of one mind', { ...bearer(aKey), 'x-token': aKey }],
  ])('may come as %s', async (_how, headers) => {
    const { url } = await startMirror({ owner: 'key:mine', credential: 'key:shown' });
    const answer = await send(url + task, { headers });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toEqual({
      owner: 'key:mine',
      role: 'submit',
      credential: 'key:shown',
      address: '127.0.0.1',
    });
  });

  test.each([
    ['unknown', bearer(wrongKey)],
    ['unknown, as X-Token', { 'x-token': wrongKey }],
    ['two different ones', { ...bearer(aKey), 'x-token': keyOf('b') }],
    ['of another scheme', { authorization: 'Basic YTpi' }],
    ['empty', { authorization: 'Bearer ' }],
    ['empty, as X-Token', { 'x-token': '' }],
    ['with a blank', { authorization: `Bearer ${aKey} b` }],
    ['too long', { authorization: `Bearer ${'a'.repeat(2001)}` }],
  ])('is refused: %s', async (_what, headers) => {
    // Whoever shows a wrong one is not taken for a caller who shows none.
    const { url } = await startMirror({}, { anonymousRole: 'publish' });
    const answer = await send(url + task, { headers });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('opens from any Host and Origin, unlike no key', async () => {
    const { url } = await startMirror();
    const headers = { ...bearer(aKey), host: 'inference.example', origin: 'https://else.example' };
    expect((await send(url + task, { headers })).status).toBe(200);
  });

  test('is asked for once in a while, however many requests come', async () => {
    const { url, asked } = await startMirror();
    const since = performance.now();
    const requests = Array.from({ length: 200 }, () => send(url + task, { headers: bearer(aKey) }));
    await Promise.all(requests);
    expect(asked()).toBeLessThanOrEqual(1 + (performance.now() - since) / knownForMs);
  });

  test(
    'waits no longer than some seconds for who could say whose it is',
    { timeout: 15_000 },
    async () => {
      const asked = deferred();
      const { url } = await startPair(() => asked.resolve());
      const since = performance.now();
      const answer = await send(url + task, { headers: bearer(aKey) });
      await asked.promise;
      expect(answer.status).toBe(503);
      expect(JSON.parse(answer.text)).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      expect(performance.now() - since).toBeGreaterThan(4_500);
      expect(performance.now() - since).toBeLessThan(10_000);
    },
  );

  test('opens nothing while nobody can say whose it is', async () => {
    const { url } = await startPublicApi({ privateApiUrl: 'http://127.0.0.1:9' });
    const answer = await send(url + task, { headers: bearer(aKey) });
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('a refusal of our own token is our fault, not the caller’s', async () => {
    const { url } = await startPair((_request, response) => {
      response.writeHead(401).end('{"status":401}');
    });
    expect((await send(url + task, { headers: bearer(aKey) })).status).toBe(500);
  });
});

describe('a token for one model', () => {
  test.each([
    ['GET', '/api/models/a', 200],
    ['GET', '/api/models/b', 403],
    ['PUT', '/api/models/a?container_tag=x', 403],
    ['GET', models, 403],
    ['GET', task, 403],
    ['GET', '/api/admin/keys/', 403],
    ['POST', '/api/tasks/?human_readable_id=a', 403],
    ['POST', '/api/tokens/', 403],
  ])('%s %s: %i', async (method, path, status) => {
    const { url } = await startMirror({ role: 'admin', human_readable_id: 'a' });
    expect((await send(url + path, { method, headers: bearer(someToken) })).status).toBe(status);
  });
});

describe('a server that others can reach', () => {
  const closed = publicRoutes.filter(({ callers }) => !callers.includes('anyone'));

  test.each(closed.map((route) => [route.operationId, route] as const))(
    'opens nothing before there is a key: %s',
    async (operationId, { method, path }) => {
      let hasKeys = false;
      const asked = new Set<string>();
      const known = identifying({ role: 'admin' }, (request, response) => {
        asked.add(request.url ?? '');
        const isSetUp = request.url === '/internal/set-up';
        response.end(isSetUp ? JSON.stringify({ has_keys: hasKeys }) : '{}');
      });
      const { url } = await startPair(known, { isExposed: true });
      const named = path.replace(':uid', uid).replace(/:(id|version)\b/, '1');
      const address = url + named.replace(/:\w+/, 'a'.repeat(16));
      // Without anything, with a key, with a token; a password comes in the body, which is not looked at.
      const callers = [{}, bearer(aKey), bearer('ist_t')];
      for (const headers of callers) {
        const answer = await send(address, { method, headers });
        expect(answer.status).toBe(403);
        expect(JSON.parse(answer.text)).toMatchObject({
          [isOipAddress(path) ? 'error' : 'detail']: expect.stringContaining('first key') as string,
        });
      }
      expect([...asked]).toEqual(['/internal/set-up']);
      hasKeys = true;
      const answer = await send(address, { method, headers: bearer(aKey) });
      expect([operationId, answer.status]).toEqual([operationId, 200]);
    },
  );
});

describe('within a second of its end a key ends', () => {
  const withinMs = 1_000;
  // Each has begun, and was looked at once more, before its key ends.

  test('a request that is held', async () => {
    const who = { isGone: false };
    const { url, askedMore } = await startAsked(who, () => undefined, {});
    const answer = send(`${url}${task}?wait=60`, { headers: bearer(aKey) });
    await askedMore(2);
    who.isGone = true;
    const since = performance.now();
    expect((await answer).status).toBe(401);
    expect(performance.now() - since).toBeLessThan(withinMs);
  });

  test.each([
    ['its key is gone', { isGone: true }],
    ['its key may do less, though enough', { role: 'submit' as const }],
    ['its key is another’s', { owner: 'key:b' }],
  ])('an upload, which private-api gets no more of: %s', async (_what, change) => {
    const who: Parameters<typeof identifying>[0] = { role: 'publish' };
    const aborted = deferred();
    const { url, askedMore } = await startAsked(who, (request) => {
      request.resume().once('close', aborted.resolve);
    });
    const upload = httpRequest(`${url}/api/tasks/?human_readable_id=a`, {
      method: 'POST',
      headers: { ...bearer(aKey), 'content-type': 'application/zip' },
    });
    const answered = once(upload, 'response') as Promise<[IncomingMessage]>;
    upload.on('error', () => undefined);
    const feeding = setInterval(() => upload.write('x'.repeat(1000)), 20);
    await askedMore(2);
    Object.assign(who, change);
    const since = performance.now();
    const [answer] = await answered;
    expect(answer.statusCode).toBe(401);
    expect(performance.now() - since).toBeLessThan(withinMs);
    await aborted.promise;
    clearInterval(feeding);
    upload.destroy();
  });

  test('a download', async () => {
    const who = { isGone: false };
    const { url, askedMore } = await startAsked(who, (_request, response) => {
      response.writeHead(200, { 'content-length': 1e9 });
      const feeding = setInterval(() => response.write('x'.repeat(1000)), 20);
      response.once('close', () => clearInterval(feeding));
    });
    const download = httpRequest(url + task, { headers: bearer(aKey) }).end();
    const [answer] = (await once(download, 'response')) as [IncomingMessage];
    let isCut = false;
    answer.on('error', () => (isCut = true)).resume();
    await askedMore(2);
    expect(isCut).toBe(false);
    who.isGone = true;
    expect(await waitUntil(async () => isCut, { timeoutMs: withinMs })).toBe(true);
  });

  test.each([
    ['a role that it has no more', '/api/consumers/', { role: 'submit' as const }],
    ['more than it may now', `${task}?wait=60`, { role: 'publish' as const }],
    ['another owner than it has now', `${task}?wait=60`, { owner: 'key:b' }],
  ])('what is held for %s', async (_what, path, change) => {
    const who: Parameters<typeof identifying>[0] = { role: 'operate' };
    const { url, askedMore } = await startAsked(who, () => undefined);
    const answer = send(url + path, { headers: bearer(aKey) });
    await askedMore(2);
    Object.assign(who, change);
    const since = performance.now();
    expect((await answer).status).toBe(401);
    expect(performance.now() - since).toBeLessThan(withinMs);
  });

  test('but nothing ends when it may do more', async () => {
    const who: Parameters<typeof identifying>[0] = {};
    const held = deferred<() => void>();
    const { url, askedMore } = await startAsked(who, (_request, response) =>
      held.resolve(() => response.end('{}')),
    );
    const answer = send(`${url}${task}?wait=60`, { headers: bearer(aKey) });
    const answerNow = await held.promise;
    who.role = 'operate';
    await askedMore(2);
    answerNow();
    expect((await answer).status).toBe(200);
  });
});
