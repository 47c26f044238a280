import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { randomUUID } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { createDockerEngine, type ContainerEngine } from '@inference-server/container-engine';
import { consumerToken } from '@inference-server/service-kit';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { createNames, labelNames } from '../../src/names.js';
import { startTestPrivateApi, type TestPrivateApi } from '../test-private-api.js';

const command = fileURLToPath(new URL('../../dist/sweep.js', import.meta.url));
const signal = new AbortController().signal;
const longAgo = new Date(Date.now() - 40 * 24 * 3_600_000);

let own: TestEngine;
let api: TestPrivateApi;
let engine: ContainerEngine;
beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  engine = createDockerEngine({ dockerHost: own.dockerHost });
});

const sweep = (args: string[], settings: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, [command, ...args], {
    env: {
      PRIVATE_API_URL: api.url,
      CONSUMER_TOKEN: consumerToken('an-operator-token-of-some-length', 'own'),
      DOCKER_HOST: own.dockerHost,
      ...settings,
    },
    timeout: 30_000,
  });
const lines = (table: string) => table.split('\n').map((line) => line.split(/\s+/).slice(0, 3));

it('says with --dry-run what would go, changes nothing, and then does it, unregistered', async () => {
  for (const id of ['gone', 'other']) {
    const attempt = createNames(own.installationId, id).attempt(`task-of-${id}`, 1);
    const [name, labels] = [attempt.name('input'), attempt.labels('input')];
    await engine.createVolume({ name, labels }, signal);
  }
  api.goneConsumers.add('gone');
  await oldModelVolume();
  const { prefix } = createNames(own.installationId, 'any');
  await engine.createVolume({ name: `${prefix}task-1-input`, labels: {} }, signal);
  const before = await left();
  expect(before).toHaveLength(5);
  const { stdout: table } = await sweep(['--dry-run']);
  const amounts = [
    ['sweep', 'number', 'bytes'],
    ['orphans', '1', '0'],
    ['model-volumes', '1', '0'],
    ['unlabelled', '1', '0'],
    [''],
  ];
  expect(lines(table)).toEqual(amounts);
  expect(await left()).toEqual(before);

  const kept = await sweep(['--dry-run'], { MODEL_VOLUME_MAX_AGE_S: `${50 * 24 * 3600}` });
  expect(lines(kept.stdout)).toContainEqual(['model-volumes', '0', '0']);

  const { stdout } = await sweep([], { LOG_LEVEL: 'silent' });
  expect(lines(stdout)).toEqual(amounts);
  const rest = await left();
  expect(rest.map(({ labels }) => labels[labelNames.consumer])).toEqual(['other']);
  expect(api.registrations).toEqual([]);
  await engine.removeVolume(rest[0]!.name, signal);
});

it('refuses what it does not know, and fails when private-api or the engine is away', async () => {
  await expect(sweep(['--dryrun'])).rejects.toMatchObject({ code: 2 });
  await expect(sweep(['--dry-run', '--x'])).rejects.toMatchObject({ code: 2 });
  await expect(sweep([], { PRIVATE_API_URL: 'x' })).rejects.toMatchObject({ code: 2 });
  await expect(sweep([], { CONSUMER_TOKEN: '' })).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('CONSUMER_TOKEN'),
  });
  await expect(sweep([], { DOCKER_HOST: 'unix:///nobody' })).rejects.toMatchObject({ code: 1 });
  api.away = true;
  await expect(sweep([])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^sweep failed: /m),
  });
  api.away = false;
});

/** Complete, and not used for 40 days. */
async function oldModelVolume(): Promise<void> {
  const { attempt, model } = createNames(own.installationId, 'another');
  const version = randomUUID();
  const { data, marker, markerLabels, use, useLabels } = model(version);
  const name = data('1');
  const labels = { ...attempt('task', 1).labels('model-data'), [labelNames.modelVersion]: version };
  await engine.createVolume({ name, labels }, signal);
  await engine.createVolume({ name: marker, labels: markerLabels(name) }, signal);
  await engine.createVolume({ name: use, labels: useLabels(longAgo) }, signal);
}

async function left() {
  const { installation } = createNames(own.installationId, 'own');
  const volumes = await engine.listVolumes(installation, signal);
  return volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
}
