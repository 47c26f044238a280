import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, inject, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { startApp, testEngine, testFolder, testRedis } from '@inference-server/testing';
import { startTestPrivateApi, type TestPrivateApi } from './test-private-api.js';

const operator = 'an-operator-token-of-some-length';

let api: TestPrivateApi;
let settings: Record<string, string>;

beforeAll(async () => {
  const own = await testEngine();
  const redis = await testRedis();

  api = await startTestPrivateApi(own.installationId);
  settings = {
    PRIVATE_API_URL: api.url,
    CONSUMER_TOKEN: consumerToken(operator, 'main-test'),
    REDIS_URL: redis.url,
    QUEUE_PREFIX: redis.prefix,
    DOCKER_HOST: own.dockerHost,
    WORK_DIR: await testFolder(),
  };
});

it('registers under its own name, and signs off and ends with 0 on SIGTERM', async () => {
  const app = await startApp({
    app: 'job-consumer',
    settings,
    ready: () => api.registrations.some(({ id }) => id === 'main-test'),
  });
  await app.stop();
  expect(api.signedOff).toEqual(['main-test']);
});

it('ends with 0 on SIGTERM while it still waits for private-api', async () => {
  api.away = true;
  const app = await startApp({ app: 'job-consumer', settings, ready: () => true });
  await expect.poll(app.log, { timeout: 10_000 }).toContain('not registered yet');
  await app.stop();
  api.away = false;
});

it('runs beside others: one consumer for each GPU', async () => {
  const app = await startApp({
    app: 'job-consumer',
    settings: {
      ...{ ...settings, GPUS: 'GPU-1,GPU-2', PATH: '/nowhere' },
      CONSUMER_TOKEN: consumerToken(operator, 'gpus'),
    },
    ready: () =>
      ['gpus-gpu-1', 'gpus-gpu-2'].every((id) => api.registrations.some((r) => r.id === id)),
  });
  await app.stop();
  expect(api.registrations.find(({ id }) => id === 'gpus-gpu-2')).toMatchObject({
    slots: 16,
    device: { uuid: 'GPU-2', name: null, memory_mib: null, driver: null },
  });
});

it('names every problem of its settings, and ends with 2', async () => {
  const main = join(inject('repository'), 'apps', 'job-consumer', 'dist', 'main.js');
  const child = spawn(process.execPath, [main], { env: { CPU_SLOTS: '-1' }, timeout: 20_000 });
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  expect(code).toBe(2);
  for (const name of ['PRIVATE_API_URL', 'REDIS_URL', 'CPU_SLOTS']) expect(said).toContain(name);
});
