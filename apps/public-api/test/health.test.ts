import { describe, expect, test } from 'vitest';
import type { Readiness } from '@inference-server/contracts';
import { startPair, startPublicApi, startUpstream } from './servers.js';

const nobody = 'http://127.0.0.1:9';

function upstreamThatIs(readiness: Readiness): Promise<{ url: string }> {
  return startPair((_request, response) => {
    response.statusCode = readiness.status === 'down' ? 503 : 200;
    response.end(JSON.stringify(readiness));
  });
}

async function get(url: string): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(url);
  return { status: answer.status, body: await answer.json() };
}

describe('GET /readyz', () => {
  test('says what private-api says, and that it says it', async () => {
    const { url } = await upstreamThatIs({ status: 'degraded', checks: { redis: 'down' } });
    expect(await get(`${url}/readyz`)).toEqual({
      status: 200,
      body: { status: 'degraded', checks: { redis: 'down', private_api: 'up' } },
    });
  });

  test('is 503 when private-api is there and down', async () => {
    const { url } = await upstreamThatIs({ status: 'down', checks: { postgres: 'down' } });
    expect(await get(`${url}/readyz/`)).toEqual({
      status: 503,
      body: { status: 'down', checks: { postgres: 'down', private_api: 'up' } },
    });
  });

  test('is 503 when nobody is there', async () => {
    const { url } = await startPublicApi({ privateApiUrl: nobody });
    expect(await get(`${url}/readyz`)).toEqual({
      status: 503,
      body: { status: 'down', checks: { private_api: 'down' } },
    });
  });

  test('is 503 within seconds when somebody is there and silent', async () => {
    const { url } = await startPair(() => undefined);
    expect(await get(`${url}/readyz`)).toMatchObject({ status: 503 });
  });

  test('is 503 when the answer is not one of private-api', async () => {
    const { url } = await startPair((_request, response) => response.end('{"status":"fine"}'));
    expect(await get(`${url}/readyz`)).toMatchObject({ status: 503 });
  });
});

describe('GET /', () => {
  test.each([
    ['ready', true],
    ['degraded', false],
    ['down', false],
  ] as const)('private-api %s: says "ready": %s', async (status, says) => {
    const { url } = await upstreamThatIs({ status, checks: {} });
    const { body } = await get(url);
    const { message } = body as { message: string };
    expect(message).toContain('Hello world');
    expect(message.includes('ready')).toBe(says);
  });
});

test('GET /healthz needs nobody', async () => {
  const { url } = await startPublicApi({ privateApiUrl: nobody });
  expect(await get(`${url}/healthz`)).toEqual({ status: 200, body: { status: 'up' } });
});

test('private-api may come and go', async () => {
  const upstream = await startUpstream((_request, response) =>
    response.end('{"status":"ready","checks":{}}'),
  );
  const { url } = await startPublicApi({ privateApiUrl: upstream.url });
  expect(await get(`${url}/readyz`)).toMatchObject({ status: 200 });
  const { port } = new URL(upstream.url);
  upstream.server.closeAllConnections();
  await new Promise((resolve) => upstream.server.close(resolve));
  expect(await get(`${url}/readyz`)).toMatchObject({ status: 503 });
  await new Promise<void>((resolve) => upstream.server.listen(Number(port), '127.0.0.1', resolve));
  expect(await get(`${url}/readyz`)).toMatchObject({ status: 200 });
});
