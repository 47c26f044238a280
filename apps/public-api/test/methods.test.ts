import { METHODS, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { isOipAddress, publicRoutes } from '@inference-server/contracts';
import { notStored, securityHeaders } from '@inference-server/service-kit';
import {
  identifying,
  keyOf,
  problemType,
  send,
  startPair,
  startPublicApi,
  uid,
} from './servers.js';

const nobody = 'http://127.0.0.1:9';
const addressOf = (path: string) =>
  path
    .replace(':uid', uid)
    .replace(':human_readable_id', 'a%20b:c')
    .replace(':consumer_id', 'c1')
    .replace(':key_id', 'a'.repeat(16))
    .replace(':user_name', 'ada');

/** Each address with the methods that it has. */
const addresses = [...new Set(publicRoutes.map(({ path }) => path))].map((path) => ({
  address: addressOf(path),
  methods: publicRoutes
    .filter((route) => route.path === path)
    .flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])),
}));

describe('a method that an address does not have', () => {
  const others = (methods: string[]) =>
    METHODS.filter((method) => method !== 'CONNECT' && !methods.includes(method));

  test.each([
    ...addresses,
    { address: '/openapi.json', methods: ['GET', 'HEAD'] },
    { address: '/docs', methods: ['GET', 'HEAD'] },
    { address: '/docs/static/swagger-ui.css', methods: ['GET', 'HEAD'] },
  ])('is 405 with Allow, and goes no further: $address', async ({ address, methods }) => {
    let reached = 0;
    const { url } = await startPair(
      identifying({ role: 'admin' }, (_request, response) => {
        reached += 1;
        response.end('{}');
      }),
    );
    const headers = { authorization: `Bearer ${keyOf('a')}` };
    for (const method of others(methods)) {
      const answer = await send(url + address, { method, headers });
      expect([method, answer.status]).toEqual([method, 405]);
      expect(answer.headers).toMatchObject({
        allow: methods.join(', '),
        'content-type': isOipAddress(address) ? 'application/json' : problemType,
      });
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
      if (method === 'HEAD') expect(answer.text).toBe('');
      else if (!isOipAddress(address)) {
        expect(JSON.parse(answer.text)).toMatchObject({ code: 'METHOD_NOT_ALLOWED' });
      }
    }
    expect(reached).toBe(0);
  });

  test('is 405 with a body too, and the connection goes on', async () => {
    const { url } = await startPublicApi({ privateApiUrl: nobody });
    for (let round = 0; round < 2; round += 1) {
      const answer = await fetch(`${url}/api/models/`, {
        method: 'PUT',
        body: 'x'.repeat(100_000),
      });
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST, GET, HEAD']);
    }
  });

  test('is 401 or 403 for whom the address is not', async () => {
    const closed = await startPublicApi({ privateApiUrl: nobody, anonymousRole: 'none' });
    const open = await startPublicApi({ privateApiUrl: nobody, anonymousRole: 'submit' });
    for (const method of ['PUT', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      const ofClosed = await send(`${closed.url}/api/models/`, { method });
      expect([method, ofClosed.status, ofClosed.headers.allow]).toEqual([method, 401, undefined]);
      const headers = { origin: 'https://example.org', 'access-control-request-method': 'POST' };
      expect((await send(`${open.url}/api/models/`, { method, headers })).status).toBe(403);
      expect((await send(`${open.url}/api/models/`, { method })).status).toBe(405);
    }
  });

  test('TRACE repeats nothing', async () => {
    const { url } = await startPublicApi({ privateApiUrl: nobody });
    for (const address of ['/', '/nothing', `/api/tasks/${uid}`]) {
      const headers = { cookie: 'a-secret', authorization: 'another-secret' };
      const answer = await send(url + address, { method: 'TRACE', headers });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(JSON.stringify(answer)).not.toContain('secret');
    }
  });

  test.each(['CONNECT localhost:22 HTTP/1.1', 'OPTIONS * HTTP/1.1'])('no %s', async (line) => {
    const { url } = await startPublicApi({ privateApiUrl: nobody });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(`${line}\r\nHost: localhost:22\r\nConnection: close\r\n\r\n`);
    expect(await text(socket)).not.toMatch(/^HTTP\/1.1 2/);
  });
});

describe('HEAD', () => {
  const answerOfUpstream: IncomingHttpHeaders = {
    'content-type': 'application/zip',
    'content-length': '1000000',
    'content-disposition': 'attachment; filename="a.zip"',
    etag: '"abc"',
    'accept-ranges': 'bytes',
  };

  test.each(
    [
      ...addresses,
      { address: '/docs', methods: ['HEAD'] },
      { address: '/openapi.json', methods: ['HEAD'] },
    ]
      .filter(({ methods }) => methods.includes('HEAD'))
      .map(({ address }) => address),
  )('is answered as GET is, without a body: %s', async (address) => {
    const { url } = await startPair((request, response) => {
      const body = request.url === '/readyz' ? '{"status":"ready","checks":{}}' : 'the body';
      response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
      response.end(body);
    });
    const ofGet = await send(url + address, {});
    const ofHead = await send(url + address, { method: 'HEAD' });
    expect(ofGet.text.length).toBeGreaterThan(0);
    expect(ofHead.text).toBe('');
    expect(ofHead.status).toBe(ofGet.status);
    expect({ ...ofHead.headers, date: '' }).toEqual({ ...ofGet.headers, date: '' });
  });

  test('is relayed as HEAD, with its query; nothing is drained', async () => {
    const seen: unknown[] = [];
    const { url } = await startPair((request, response) => {
      seen.push([request.method, request.url]);
      response.writeHead(200, answerOfUpstream).end();
    });
    const answer = await send(`${url}/api/tasks/${uid}?wait=1`, { method: 'HEAD' });
    expect(answer.headers).toMatchObject(answerOfUpstream);
    expect(answer.headers).not.toHaveProperty('transfer-encoding');
    expect(seen).toEqual([['HEAD', `/api/tasks/${uid}?wait=1`]]);
  });

  test.each([404, 551, 552, 553, 554, 503])('is %i where GET is', async (status) => {
    const { url } = await startPair((_request, response) => {
      response.writeHead(status, { 'content-type': problemType, 'content-length': 500 }).end();
    });
    const answer = await send(`${url}/api/tasks/${uid}`, { method: 'HEAD' });
    expect([answer.status, answer.headers['content-length']]).toEqual([status, '500']);
  });

  test('of an address that is not there is 404', async () => {
    const { url } = await startPublicApi({ privateApiUrl: nobody });
    expect((await send(`${url}/nothing`, { method: 'HEAD' })).status).toBe(404);
  });
});

test('304 comes through without a body, 206 and 416 with what they say', async () => {
  const { url } = await startPair((request, response) => {
    const [status = 200] = [request.headers.range].map(Number);
    const about = { etag: '"abc"', 'content-range': 'bytes 1-3/10' };
    if (status === 304) response.writeHead(304, about).end();
    else response.writeHead(status, { ...about, 'content-length': 3 }).end('bcd');
  });
  for (const [status, body] of [
    [206, 'bcd'],
    [304, ''],
    [416, 'bcd'],
  ] as const) {
    const headers = { range: String(status) };
    const answer = await send(`${url}/api/tasks/${uid}`, { headers });
    expect([answer.status, answer.text]).toEqual([status, body]);
    expect(answer.headers).toMatchObject({ etag: '"abc"', 'content-range': 'bytes 1-3/10' });
    expect(answer.headers).not.toHaveProperty('transfer-encoding');
  }
});

test('every answer says what a browser must not do with it', async () => {
  const { url } = await startPair((_request, response) => response.writeHead(551).end('{}'));
  const raw = new URL(url);
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/healthz'],
    ['GET', '/docs'],
    ['GET', '/docs/static/swagger-ui.css'],
    ['GET', '/openapi.json'],
    ['GET', `/api/tasks/${uid}`],
    ['GET', '/api/tasks/short'],
    ['GET', '/nothing'],
    ['GET', '/%zz'],
    ['GET', '/readyz?a=1&a=2'],
    ['PUT', '/api/models/'],
    ['HEAD', '/'],
  ] as const) {
    const { hostname, port } = raw;
    const answer = await send(url, { hostname, port, method, path });
    const own = path.startsWith('/docs') ? { 'content-security-policy': expect.anything() } : {};
    expect(answer.headers, path).toMatchObject({ ...securityHeaders, ...own });
    if (!path.startsWith('/docs')) expect(answer.headers, path).toMatchObject(notStored);
  }
});

test('a 401 between the two hops leaves an answer of ours', async () => {
  const { url } = await startPair((_request, response) => response.writeHead(401).end('{}'));
  const answer = await send(`${url}/api/models/`, {});
  expect(answer.status).toBe(500);
  expect(answer.headers).toMatchObject({ ...securityHeaders, ...notStored });
});
