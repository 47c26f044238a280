import { describe, expect, test } from 'vitest';
import { readConfig } from '../src/config.js';

const read = (environment: NodeJS.ProcessEnv, args: string[] = []) =>
  readConfig(environment, args, '/work');

describe('readConfig', () => {
  test('defaults', () => {
    expect(read({})).toEqual({
      dataDir: '/work/.data',
      host: '127.0.0.1',
      anonymousRole: 'publish',
      publicApiPort: 8000,
      privateApiPort: 7000,
      grpcPort: 8500,
      zerorpc: { host: '127.0.0.1', port: 4242 },
      privateApiToken: undefined,
      databaseUrl: undefined,
      redisUrl: undefined,
      dockerHost: undefined,
      storageUrl: undefined,
      allowPublicPostModel: undefined,
      cpuSlots: undefined,
      gpus: 'auto',
      logLevel: 'info',
      logFiles: undefined,
      demo: true,
    });
  });

  test('--no-demo', () => {
    expect(read({}, ['--no-demo']).demo).toBe(false);
    expect(() => read({}, ['--demo'])).toThrow('--demo: is no option');
  });

  test.each(['127.0.0.1', 'localhost', '::1', '0.0.0.0', '::', '192.168.1.2'])(
    'HOST may be %s',
    (HOST) => {
      expect(read({ HOST }).host).toBe(HOST);
    },
  );

  test.each([
    ['publish', { HOST: 'localhost' }],
    ['none', { HOST: '0.0.0.0' }],
    ['none', { HOST: '192.168.1.2' }],
    ['none', { HOST: '127.0.0.1', ANONYMOUS_ROLE: 'none' }],
    ['submit', { HOST: '0.0.0.0', ANONYMOUS_ROLE: 'submit' }],
  ])('a caller without a key has the role %s with %j', (role, environment) => {
    expect(read(environment).anonymousRole).toBe(role);
  });

  test.each([
    [{ ANONYMOUS_ROLE: 'admin' }, 'ANONYMOUS_ROLE'],
    [{ PUBLIC_API_PORT: '0' }, 'PUBLIC_API_PORT'],
    [{ PUBLIC_API_PORT: '65536' }, 'PUBLIC_API_PORT'],
    [{ PRIVATE_API_PORT: 'x' }, 'PRIVATE_API_PORT'],
    [{ PRIVATE_API_PORT: '8000' }, 'PUBLIC_API_PORT, PRIVATE_API_PORT'],
    [{ GRPC_PORT: '7000' }, 'PRIVATE_API_PORT, GRPC_PORT'],
    [{ ZERORPC_PORT: '8500' }, 'GRPC_PORT, ZERORPC_PORT'],
    [{ PRIVATE_API_TOKEN: 'short' }, 'PRIVATE_API_TOKEN'],
    [{ DATABASE_URL: 'mysql://x' }, 'DATABASE_URL'],
    [{ REDIS_URL: 'http://x' }, 'REDIS_URL'],
    [{ DOCKER_HOST: 'ssh://x' }, 'DOCKER_HOST'],
    [{ CPU_SLOTS: '0' }, 'CPU_SLOTS'],
  ])('%j is refused, naming the variable', (environment, name) => {
    expect(() => read(environment)).toThrow(name);
  });
});
