import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem, RouteContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { closeHttpServer, createHttpServer, mountRoute } from '../src/index.js';

const logged: string[] = [];
const logger = pino(
  { level: 'info' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString());
      done();
    },
  }),
);

const contract = {
  operationId: 'probe',
  method: 'GET',
  path: '/probe/:uid/',
  tag: 'probe',
  summary: 'probe',
  params: Type.Object({ uid: Type.String({ pattern: '^[a-z]+$' }) }),
  query: Type.Object(
    { flag: Type.Optional(Type.Boolean()), text: Type.Optional(Type.String({ maxLength: 3 })) },
    { additionalProperties: false },
  ),
  success: { kind: 'json', schema: Type.Unknown(), description: '' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
} as const satisfies RouteContract;

const bodyContract = {
  ...contract,
  operationId: 'probeBody',
  method: 'POST',
  path: '/body',
  params: Type.Object({}),
  body: {
    kind: 'json',
    schema: Type.Object({ text: Type.Union([Type.String(), Type.Null()]), count: Type.Integer() }),
  },
} as const satisfies RouteContract;

let app: FastifyInstance;
let base: string;
beforeAll(async () => {
  app = createHttpServer({ logger });
  mountRoute(app, contract, ({ params, query }) => {
    if (params.uid === 'known') throw new AppError('TASK_FAILED', 'It failed.');
    if (params.uid === 'bug') throw new TypeError('a secret of the inside');
    if (params.uid === 'text') return Promise.resolve('a string');
    return Promise.resolve({ params, query });
  });
  mountRoute(app, bodyContract, ({ body }) => Promise.resolve(body));
  await app.listen({ host: '127.0.0.1', port: 0 });
  base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
});
afterAll(() => closeHttpServer(app, 1_000));

async function problem(path: string): Promise<Problem> {
  const response = await fetch(base + path);
  expect(response.headers.get('content-type')).toContain('application/problem+json');
  const body = (await response.json()) as Problem;
  expect(body.status).toBe(response.status);
  return body;
}

describe('createHttpServer', () => {
  it('serves a route with and without its trailing slash, booleans as Python spells them', async () => {
    for (const path of ['/probe/a/?flag=True', '/probe/a?flag=true']) {
      const answer = (await (await fetch(base + path)).json()) as object;
      expect(answer).toEqual({ params: { uid: 'a' }, query: { flag: true } });
    }
  });

  it('sends a bare JSON string', async () => {
    const response = await fetch(`${base}/probe/text`);
    expect(response.headers.get('content-type')).toContain('application/json');
    expect(await response.text()).toBe('"a string"');
  });

  it('names the parameter and the rule, never the value', async () => {
    const long = await problem('/probe/a?text=%3Cscript%3E');
    expect(long).toMatchObject({ status: 422, code: 'VALIDATION_FAILED', parameter: 'text' });
    expect(JSON.stringify(long)).not.toContain('script');
    expect(await problem('/probe/a?flag=yes')).toMatchObject({ status: 422, parameter: 'flag' });
    expect(await problem('/probe/a?unknown=1')).toMatchObject({
      status: 422,
      parameter: 'unknown',
    });
    const markup = await problem('/probe/a?%3Cb%3E=1');
    expect(JSON.stringify(markup)).not.toContain('<b>');
  });

  it('takes a JSON body at its word', async () => {
    const post = async (body: object) => {
      const headers = { 'content-type': 'application/json' };
      const init = { method: 'POST', headers, body: JSON.stringify(body) };
      return (await (await fetch(`${base}/body`, init)).json()) as object;
    };
    expect(await post({ text: null, count: 1 })).toEqual({ text: null, count: 1 });
    expect(await post({ text: 'a', count: '1' })).toMatchObject({
      status: 422,
      parameter: 'count',
    });
  });

  it('refuses a parameter that is given twice', async () => {
    expect(await problem('/probe/a?text=a&text=a')).toMatchObject({
      status: 400,
      code: 'DUPLICATE_PARAMETER',
      parameter: 'text',
    });
  });

  it('keeps what names an object prototype out of the query', async () => {
    expect(await problem('/probe/a?__proto__=1')).toMatchObject({ status: 422 });
    expect(await problem('/probe/a?constructor=1')).toMatchObject({ status: 422 });
  });

  it('says 404 as a problem', async () => {
    expect(await problem('/nothing')).toMatchObject({ status: 404, code: 'NOT_FOUND' });
  });

  it('answers with the code of an AppError', async () => {
    expect(await problem('/probe/known')).toMatchObject({ status: 552, code: 'TASK_FAILED' });
  });

  it('shows an id of an unexpected error and logs the rest', async () => {
    const body = await problem('/probe/bug');
    expect(body).toMatchObject({ status: 500, code: 'INTERNAL' });
    expect(JSON.stringify(body)).not.toContain('secret');
    const entry = logged.find((line) => line.includes(body.error_id ?? '-'));
    expect(entry).toContain('a secret of the inside');
  });
});
