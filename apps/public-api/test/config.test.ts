import { expect, test } from 'vitest';
import { ConfigError, newOperatorToken, publicApiToken } from '@inference-server/service-kit';
import { readConfig } from '../src/config.js';

const PUBLIC_API_TOKEN = publicApiToken(newOperatorToken());

test('the defaults are those of the README', () => {
  expect(readConfig({ PUBLIC_API_TOKEN })).toEqual({
    host: '127.0.0.1',
    port: 8000,
    privateApiUrl: 'http://127.0.0.1:7000',
    privateApiToken: PUBLIC_API_TOKEN,
    gateway: undefined,
    maxJsonBytes: 8 * 1024 ** 2,
    anonymousRole: 'none',
    allowPublicPostModel: false,
    isExposed: false,
    trustedProxies: [],
    corsOrigins: [],
    redisUrl: undefined,
    queuePrefix: 'inference-server',
    rates: {
      requestsPerKey: 3_000,
      requestsPerAddress: 10_000,
      postsPerKey: 1_000,
      postsPerAddress: 3_000,
      refusalsPerAddress: 60,
      windowS: 10,
    },
    maxUploadBytes: 20 * 1024 ** 3,
    uploadPace: { minBytes: 60 * 1024, windowMs: 60_000 },
    logLevel: 'info',
    logFiles: undefined,
    stopGraceMs: 30_000,
  });
});

test('ALLOW_PUBLIC_POST_MODEL may be set to anything', () => {
  const config = readConfig({ PUBLIC_API_TOKEN, ALLOW_PUBLIC_POST_MODEL: 'False' });
  expect(config.allowPublicPostModel).toBe(true);
});

test('problems are named, all at once', () => {
  const read = () => readConfig({ PORT: 'http', ANONYMOUS_ROLE: 'admin', PRIVATE_API_URL: 'x' });
  expect(read).toThrow(ConfigError);
  expect(read).toThrow(/PORT[^]*PRIVATE_API_URL|PRIVATE_API_URL[^]*PORT/);
  expect(read).toThrow(/ANONYMOUS_ROLE/);
  expect(() => readConfig({})).toThrow(/PUBLIC_API_TOKEN/);
});
