import { connect, type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  closeHttpServer,
  createHttpServer,
  createLogger,
  notStored,
  securityHeaders,
  serveDocs,
} from '../src/index.js';

let app: FastifyInstance;
let port: number;
beforeAll(async () => {
  app = createHttpServer({ logger: createLogger('test', 'silent') });
  app.get('/plain', async () => ({}));
  app.get('/kept', async (_request, reply) => reply.header('cache-control', 'private').send({}));
  app.get('/other', async (_request, reply) =>
    reply.header('content-security-policy', "default-src 'self'").send({}),
  );
  app.get('/failing', async () => {
    throw new Error('of a test');
  });
  await serveDocs(app, { openapi: '3.1.0', info: { title: 'x', version: '1' }, paths: {} });
  await app.listen({ host: '127.0.0.1', port: 0 });
  ({ port } = app.server.address() as AddressInfo);
});
afterAll(() => closeHttpServer(app, 1_000));

/** The head of the answer to what may be no HTTP at all. */
async function headOf(words: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(words);
  return ((await text(socket)).split('\r\n\r\n')[0] ?? '').toLowerCase();
}

const get = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;

it.each([
  ['an answer', get('/plain')],
  ['one that would have another policy', get('/other')],
  ['a fault', get('/failing')],
  ['an address with nothing at it', get('/nothing')],
  ['an address that cannot be read', get('/%zz')],
  ['a method that is not there', get('/docs').replace('GET', 'PUT')],
  ['headers that are too long', get(`/${'x'.repeat(20_000)}`)],
  ['what is no HTTP', 'hello\r\n\r\n'],
  ['a request to be a proxy', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n'],
])('%s says what a browser must not do with it, once, and is not kept', async (_what, words) => {
  const lines = (await headOf(words)).split('\r\n');
  for (const [name, value] of Object.entries({ ...securityHeaders, ...notStored })) {
    const said = lines.filter((line) => line.startsWith(`${name}:`));
    expect(said).toEqual([`${name}: ${value}`.toLowerCase()]);
  }
});

it('what may be kept says so itself', async () => {
  expect(await headOf(get('/kept'))).toContain('\r\ncache-control: private\r\n');
});

it('the pages of the documentation run their own files and nothing that is written into them', async () => {
  for (const path of ['/docs', '/docs/', '/docs/static/swagger-ui.css', '/docs/static/absent.js']) {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    await answer.arrayBuffer();
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'; /);
    expect(policy).toMatch(/ base-uri 'none'; form-action 'none'; frame-ancestors 'none';$/);
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(answer.headers.get('x-frame-options')).toBe('DENY');
  }
});
