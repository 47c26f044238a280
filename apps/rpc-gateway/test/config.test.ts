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
