import { expect, test } from 'vitest';
import { ConfigError, newOperatorToken, rpcGatewayToken } from '@inference-server/service-kit';
import { readConfig } from '../src/config.js';

const RPC_GATEWAY_TOKEN = rpcGatewayToken(newOperatorToken());

test('a message that the settings allow must fit, with its answer, or inflated', () => {
  const MAX_MESSAGE_BYTES = '1000';
  expect(readConfig({ RPC_GATEWAY_TOKEN }).maxMessageBytes).toBe(256 * 1024 ** 2);
  const config = readConfig({ RPC_GATEWAY_TOKEN, MAX_MESSAGE_BYTES, MAX_QUEUED_BYTES: '3000' });
  expect(config.maxQueuedBytes).toBe(3_000);
  expect(() =>
    readConfig({ RPC_GATEWAY_TOKEN, MAX_MESSAGE_BYTES, MAX_QUEUED_BYTES: '2999' }),
  ).toThrow(ConfigError);
});

test.each([
  [{}, undefined],
  [{ ZERORPC_PORT: '' }, undefined],
  [{ ZERORPC_PORT: '4242' }, { host: '127.0.0.1', port: 4242, isExposed: false }],
  [
    { ZERORPC_PORT: '4242', ZERORPC_HOST: '0.0.0.0', GRPC_HOST: '127.0.0.1' },
    { host: '0.0.0.0', port: 4242, isExposed: true },
  ],
])('the door for ZeroRPC with %j', (settings, door) => {
  expect(readConfig({ RPC_GATEWAY_TOKEN, ...settings }).zerorpc).toEqual(door);
});
