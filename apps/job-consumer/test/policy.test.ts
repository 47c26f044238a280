import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import { scriptZip } from './zips.js';
import type { RunOptions } from './attempt-scene.js';
import type { RunSettings } from '../src/run/attempt-run.js';

let scene: AttemptScene;
beforeAll(async () => {
  scene = await openAttemptScene();
});
afterAll(() => scene.close());

it('runs nothing that the policy of its host does not allow', async () => {
  const settings = { policy: { images: [{ registry: 'r.example' }] } };
  const { result } = await runWith(settings, 'true');
  expect(result).toMatchObject({
    ...{ kind: 'failed', reason: 'not_allowed', exit_code: null },
    detail: expect.stringMatching(/policy of this host.*\(images\)/),
  });
  expect(await scene.traces()).toEqual([]);
});

it('shows a registry who pulls, and tells nobody else', async () => {
  const shown = new Set<string | undefined>();
  const registry = createServer((request, response) => {
    const { authorization } = request.headers;
    shown.add(authorization);
    const status = authorization === undefined ? 401 : 404;
    response
      .writeHead(status, { ...json, 'www-authenticate': 'Basic realm="test"' })
      .end(noManifest);
  }).listen(0, '127.0.0.1');
  await once(registry, 'listening');
  const address = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
  const login = { serveraddress: address, username: 'user', password: 'canary-of-a-password' };
  const { result } = await runWith({ credentialsOf: () => login }, 'true', {
    image: `${address}/private/model:1`,
  });
  registry.closeAllConnections();
  registry.close();
  const secret = btoa('user:canary-of-a-password');
  expect(shown).toContain(`Basic ${secret}`);
  expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
  for (const word of ['canary', secret]) {
    expect(inspect(result, { depth: 9, maxStringLength: null })).not.toContain(word);
  }
});

const json = { 'content-type': 'application/json' };
const noManifest = JSON.stringify({
  errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown', detail: {} }],
});

async function runWith(settings: Partial<RunSettings>, script: string, options: RunOptions = {}) {
  const task = scene.taskOf(scriptZip(script), options);
  const running = await scene.bench.start(task, settings);
  const result = await task.settled;
  await running.cleaned;
  return { task, result };
}
