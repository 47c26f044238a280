import { randomUUID } from 'node:crypto';
import { METHODS, request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allRoutes, isOipAddress, type RouteContract } from '@inference-server/contracts';
import {
  consumerToken,
  notStored,
  publicApiToken,
  rpcGatewayToken,
  securityHeaders,
} from '@inference-server/service-kit';
import { actingFor, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi();
});
afterAll(() => api.close());

/** Methods that fetch refuses to send, too. */
async function ask(
  method: string,
  path: string,
  { token, body, caller }: { token?: string; body?: string; caller?: object } = {},
) {
  const headers = {
    ...caller,
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(body === undefined ? {} : { 'content-type': 'text/x-odd', 'content-length': body.length }),
  };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(api.base + path, { method, headers }, resolve)
      .on('error', reject)
      .end(body);
  });
  return { status: answer.statusCode, headers: answer.headers, text: await text(answer) };
}

/** What opens it. */
function credentialsFor({ callers, access }: RouteContract) {
  if (callers.includes('consumer')) return { token: consumerToken(api.operatorToken, 'c1') };
  if (callers.includes('operator')) return { token: api.operatorToken };
  if (callers.includes('public-api')) {
    return { token: publicApiToken(api.operatorToken), caller: actingFor('a') };
  }
  const token = rpcGatewayToken(api.operatorToken);
  return access === 'submit' ? { token, caller: actingFor('a') } : { token };
}

const addresses = [...new Set(allRoutes.map(({ path }) => path))].map((path) => {
  const contracts = allRoutes.filter((route) => route.path === path);
  return {
    address: path
      .replace(/:(task_)?uid/, 'A'.repeat(43))
      .replace(':human_readable_id', 'a%20b:c')
      .replace(':attempt', '1')
      .replace(':consumer_id', 'c1')
      .replace(/:(replica|gateway)_id/, randomUUID())
      .replace(':key_id', 'a'.repeat(16))
      .replace(':user_name', 'ada'),
    contracts,
    methods: contracts.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])),
  };
});

describe('a method that an address does not have', () => {
  it.each(addresses)('is 405 with Allow: $address', async ({ address, contracts, methods }) => {
    const credentials = contracts[0] && credentialsFor(contracts[0]);
    for (const method of METHODS) {
      if (method === 'CONNECT' || methods.includes(method)) continue;
      const answer = await ask(method, address, { ...credentials, body: 'some body' });
      expect([method, answer.status, answer.headers.allow]).toEqual([
        method,
        405,
        methods.join(', '),
      ]);
      expect(answer.headers['content-type']).toContain(
        isOipAddress(address) ? 'application/json' : 'application/problem+json',
      );
      expect(answer.headers).toMatchObject({ ...securityHeaders, ...notStored });
    }
  });

  it('is 401 without a token and 403 with one that does not open the address', async () => {
    for (const { address, contracts } of addresses) {
      const isOpen = contracts.some(({ callers }) => callers.includes('anyone'));
      const isForConsumers = contracts.every(({ callers }) => !callers.includes('public-api'));
      const without = await ask('PATCH', address);
      expect([address, without.status]).toEqual([address, isOpen ? 405 : 401]);
      if (isOpen || !isForConsumers) continue;
      const other = await ask('PATCH', address, { token: publicApiToken(api.operatorToken) });
      expect([address, other.status, other.headers.allow]).toEqual([address, 403, undefined]);
    }
  });
});

it('a method of an address that is not there is 404', async () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PROPFIND', 'TRACE']) {
    expect((await ask(method, '/nothing')).status).toBe(404);
  }
});
