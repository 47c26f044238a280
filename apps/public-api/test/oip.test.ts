import type { RequestListener } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { oipLengthHeader } from '@inference-server/contracts';
import {
  identifying,
  keyOf,
  someToken,
  startPair,
  startPublicApi,
  startUpstream,
  wrongKey,
} from './servers.js';

const headers = { authorization: `Bearer ${keyOf('a')}` };
const infer = '/v2/models/echo/infer';

async function ask(url: string, options: RequestInit = {}) {
  const answer = await fetch(url, options);
  const text = await answer.text();
  return [answer.status, answer.headers.get('content-type'), JSON.parse(text) as unknown];
}

const refused = (code: number, words: string) => [
  code,
  'application/json',
  { error: expect.stringContaining(words) as string },
];

describe('whether the server is there', () => {
  const json = 'application/json; charset=utf-8';
  const anybody = { anonymousRole: 'none' as const };
  /** private-api, or the gateway. */
  const saying =
    (status: string): RequestListener =>
    (_request, response) =>
      response.writeHead(status === 'down' ? 503 : 200).end(JSON.stringify({ status, checks: {} }));

  test('is told to anybody', async () => {
    const { url } = await startPair(saying('degraded'), anybody);
    expect(await ask(`${url}/v2/health/live`)).toEqual([200, json, { live: true }]);
    expect(await ask(`${url}/v2/health/ready/`)).toEqual([200, json, { ready: true }]);
  });

  test.each([
    ['private-api takes nothing', 'down', 'ready'],
    ['the gateway takes nothing', 'ready', 'down'],
    ['there is no gateway', 'ready', undefined],
    ['the gateway is gone', 'ready', ''],
  ])('where %s, it is alive and not ready', async (_what, ofPrivateApi, ofGateway) => {
    const { url: privateApiUrl } = await startUpstream(saying(ofPrivateApi));
    const gateway =
      ofGateway === ''
        ? { url: 'http://127.0.0.1:9' }
        : ofGateway && (await startUpstream(saying(ofGateway)));
    const { url } = await startPublicApi({
      ...{ ...anybody, privateApiUrl },
      gateway:
        gateway === undefined ? undefined : { url: (gateway as { url: string }).url, token: 'x' },
    });
    expect(await ask(`${url}/v2/health/live`)).toEqual([200, json, { live: true }]);
    const notNow = 'The server takes no calls of models at the moment.';
    expect(await ask(`${url}/v2/health/ready`)).toEqual(refused(503, notNow));
  });
});

describe('a call', () => {
  test('goes to the gateway with the bytes behind its JSON, and comes back so', async () => {
    const seen: unknown[] = [];
    const listener: RequestListener = (request, response) => {
      void buffer(request).then((body) => {
        const length = request.headers[oipLengthHeader];
        seen.push([request.method, request.url, request.headers.authorization, length, body]);
        response.setHeader('content-type', 'application/octet-stream');
        response.setHeader(oipLengthHeader, '2').end(Buffer.from('7b7dff', 'hex'));
      });
    };
    const { url } = await startPair(identifying({}, listener));
    const body = Buffer.from('7b7d00ff', 'hex');
    const answer = await fetch(`${url}/v2/models/a%20b/versions/3/infer`, {
      ...{ method: 'POST', body },
      headers: { ...headers, [oipLengthHeader]: '2' },
    });
    expect([answer.status, answer.headers.get(oipLengthHeader)]).toEqual([200, '2']);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(Buffer.from('7b7dff', 'hex'));
    const [at, shown] = ['/v2/models/a%20b/versions/3/infer', 'Bearer the-relay-token'];
    expect(seen).toEqual([['POST', at, shown, '2', body]]);
  });

  test('may be larger where bytes stand behind the JSON', async () => {
    const sizes: number[] = [];
    const listener: RequestListener = (request, response) => {
      void buffer(request).then((body) => {
        sizes.push(body.length);
        response.end('{}');
      });
    };
    const { url } = await startPair(identifying({}, listener), { maxJsonBytes: 1_000 });
    const body = Buffer.alloc(5_000);
    const post = { method: 'POST', body };
    expect(await ask(url + infer, { ...post, headers })).toEqual(refused(413, 'larger than 1000'));
    const withBytes = { ...headers, [oipLengthHeader]: '10' };
    expect((await fetch(url + infer, { ...post, headers: withBytes })).status).toBe(200);
    const predict = `${url}/api/models/echo/predict`;
    expect((await fetch(predict, { ...post, headers: withBytes })).status).toBe(413);
    expect(sizes).toEqual([5_000]);
  });

  test.each<[string, number, string, string, RequestInit]>([
    ['nobody', 401, 'Credentials are missing', infer, {}],
    [
      'an unknown key',
      401,
      'not known',
      infer,
      { headers: { authorization: `Bearer ${wrongKey}` } },
    ],
    ['a token for another model', 403, 'one model', '/v2/models/b', {}],
    ['a token for a model', 403, 'one model', '/v2', {}],
    ['a name out of form', 400, 'human_readable_id', '/v2/models/%21', { headers }],
    ['a version out of form', 400, 'version', '/v2/models/a/versions/1.5/ready', { headers }],
    ['another address', 404, 'nothing at this address', '/v2/repository/index', { headers }],
    ['another method', 405, 'this method', infer, { headers }],
    [
      'a compressed body',
      415,
      'Content-Encoding',
      infer,
      { method: 'POST', body: 'x', headers: { ...headers, 'content-encoding': 'gzip' } },
    ],
  ])('of %s is refused in the words of the protocol: %i', async (what, code, words, path, how) => {
    const isToken = what.startsWith('a token');
    const who = isToken ? { human_readable_id: 'echo' } : {};
    const { url } = await startPair(
      identifying(who, (_request, response) => response.end('{}')),
      { anonymousRole: 'none' },
    );
    const shown = isToken ? { headers: { authorization: `Bearer ${someToken}` } } : how;
    const method = path === infer && code === 401 ? { method: 'POST' } : {};
    expect(await ask(url + path, { ...shown, ...method })).toEqual(refused(code, words));
  });

  test('is refused likewise where nobody answers it', async () => {
    const { url: privateApiUrl } = await startUpstream(identifying({}, () => undefined));
    const gateways = [undefined, { url: 'http://127.0.0.1:9', token: 'x' }];
    for (const gateway of gateways) {
      const { url } = await startPublicApi({ privateApiUrl, gateway });
      const answer = await ask(`${url}/v2/models/echo`, { headers });
      expect(answer).toEqual(
        refused(503, gateway === undefined ? 'no rpc-gateway' : 'not available'),
      );
    }
  });
});
