import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { inspect, promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { createDockerEngine, type ContainerEngine } from '../src/index.js';
import { startOwnEngine, type OwnEngine } from './own-engine.js';
import { startTinyRegistry, type TinyRegistry } from './tiny-registry.js';
import { tarOf } from './tiny-tar.js';

let own: OwnEngine;
let engine: ContainerEngine;
let registry: TinyRegistry;
const signal = new AbortController().signal;

beforeAll(async () => {
  own = await startOwnEngine();
  engine = createDockerEngine({ dockerHost: own.dockerHost, deadlines: { idleMs: 1000 } });
});

beforeEach(async () => {
  registry = await startTinyRegistry(await buffer(tarOf([{ name: 'file', content: 'x' }])));
});

afterEach(async () => {
  await registry.close();
  await own.docker.pruneImages({ filters: { dangling: { false: true } } });
});

it('fetches an image, with signs of progress', async () => {
  const reference = `${registry.address}/model:2`;
  let signs = 0;
  await engine.pullImage(reference, signal, { onProgress: () => (signs += 1) });
  expect(await engine.inspectImage(reference, signal)).toMatchObject({ user: '7' });
  expect(signs).toBeGreaterThan(1);
});

it('fetches only the latest when no tag is named', async () => {
  await engine.pullImage(`${registry.address}/model`, signal);
  expect(registry.requests.filter((path) => path.includes('/tags/'))).toEqual([]);
  expect(registry.requests).toContain('/v2/model/manifests/latest');
});

it('fetches from a registry that wants to know who asks, and tells nobody what it was told', async () => {
  registry.demand('hospital', 'canary-of-a-password');
  const reference = `${registry.address}/model:2`;
  const login = { serveraddress: registry.address, username: 'hospital' };
  const pull = (password?: string) =>
    engine.pullImage(reference, signal, {
      credentials: password === undefined ? undefined : { ...login, password },
    });
  await expect(pull()).rejects.toMatchObject({ problem: 'image_absent' });
  const refused: unknown = await pull('canary-of-another').catch((error: unknown) => error);
  expect(refused).toMatchObject({ problem: 'image_absent' });
  expect(inspect(refused, { depth: 10 })).not.toContain('canary');
  expect(inspect(refused, { depth: 10 })).not.toContain(btoa('hospital:canary-of-another'));
  await pull('canary-of-a-password');
  expect(await engine.inspectImage(reference, signal)).toMatchObject({ user: '7' });
});

it('fails when the failure comes after the status', async () => {
  registry.loseLayer();
  const pull = engine.pullImage(`${registry.address}/model:1`, signal);
  await expect(pull).rejects.toMatchObject({ name: 'AppError', problem: 'failed' });
});

it('tells of a full disk, which is known only when the image comes', async () => {
  const small = join(await testFolder(), 'small');
  await mkdir(small);
  await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small]);
  const cramped = await startOwnEngine({ dataDir: small });
  const large = await startTinyRegistry(
    await buffer(tarOf([{ name: 'file', content: randomBytes(24 * 1024 ** 2) }])),
  );
  const failure: unknown = await createDockerEngine({ dockerHost: cramped.dockerHost })
    .pullImage(`${large.address}/model:1`, signal)
    .catch((error: unknown) => error);
  await large.close();
  expect(failure).toMatchObject({ problem: 'disk_full', code: 'STORAGE_FULL' });
});

it('tells that the registry has no such image', async () => {
  const pull = engine.pullImage(`${registry.address}/other:1`, signal);
  await expect(pull).rejects.toThrow(/manifest|not found/i);
});

it('gives up a transfer that stands still', async () => {
  registry.stallLayer();
  const pull = engine.pullImage(`${registry.address}/model:1`, signal);
  await expect(pull).rejects.toMatchObject({ problem: 'overdue' });
});

it('gives a silent registry up, and stops when told to', async () => {
  registry.fallSilent();
  const reference = `${registry.address}/model:1`;
  await expect(engine.pullImage(reference, signal)).rejects.toMatchObject({ problem: 'overdue' });
  const stop = new AbortController();
  setTimeout(() => {
    stop.abort(new Error('enough'));
  }, 100);
  await expect(engine.pullImage(reference, stop.signal)).rejects.toThrow('enough');
});
