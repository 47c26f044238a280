import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Policy, Rights } from '@inference-server/contracts';
import { testRedis } from '@inference-server/testing';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import { makeScriptImage } from './images.js';
import { startTestConsumer } from './test-consumer.js';
import { readZip, scriptZip } from './zips.js';
import type { RunOptions } from './attempt-scene.js';
import type { RunSettings } from '../src/run/attempt-run.js';

let scene: AttemptScene;
beforeAll(async () => {
  scene = await openAttemptScene();
});
afterAll(() => scene.close());

/** Of docker 20.10 and later, beside its default. */
const otherRuntime = 'io.containerd.runc.v2';
const never = new AbortController().signal;
const waits = { timeout: 10_000, interval: 50 };

it('runs nothing that the policy of its host does not allow', async () => {
  const settings = { policy: { images: [{ registry: 'r.example' }] } };
  const { result } = await runWith(settings, 'true');
  expect(result).toMatchObject({
    ...{ kind: 'failed', reason: 'not_allowed', exit_code: null },
    detail: expect.stringMatching(/policy of this host.*\(images\)/),
  });
  expect(await scene.traces()).toEqual([]);
});

it('runs no image by the beginning of its id', async () => {
  const found = await scene.bench.engine.inspectImage(scene.own.image, never);
  const image = /^sha256:([0-9a-f]{12})/.exec(found?.id ?? '')?.[1] ?? '';
  const { result } = await scene.run('true', { image, pullPolicy: 'never' });
  expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
});

it('runs nothing of the image that it makes for its own containers', async () => {
  const { result } = await scene.run('true', { image: 'inference-server/empty:1' });
  expect(result).toMatchObject({ kind: 'failed', reason: 'not_allowed' });
});

describe('a container under a policy', () => {
  it.each([
    ['no image that runs as root', undefined, /runs as root/],
    ['no image whose user has a name', ['USER nobody'], /runs as nobody/],
    ['no image whose user is root by number', ['USER 00:1000'], /runs as 00/],
  ])('is of %s', async (_what, changes, says) => {
    const settings = { policy: { require_non_root: true } };
    const { result } = await runWith(settings, 'true', await imageOf(changes));
    expect(result).toMatchObject({
      ...{ kind: 'failed', reason: 'not_allowed' },
      detail: expect.stringMatching(/\(require_non_root\)/),
    });
    expect(result.detail).toMatch(says);
  });

  it.each([
    ['the one of the policy, where it would be root', undefined, '10001 10002'],
    ['that of its image, where that is a number', ['USER 1000:1001'], '1000 1001'],
  ])('runs as another user than root: %s', async (_what, changes, who) => {
    const settings = { policy: { require_non_root: true, run_as: '10001:10002' } };
    const script = 'echo $(id -u) $(id -g) > /output/who; cat /input/run.sh > /dev/null';
    const { result, task } = await runWith(settings, script, await imageOf(changes));
    expect(result).toMatchObject({ kind: 'finished' });
    expect(readZip(task.outputs[0] ?? Buffer.alloc(0))).toEqual({ who: `${who}\n` });
  });

  it('has a root that it cannot write to, and a /tmp of a size', async () => {
    const settings = { policy: { read_only_root: { tmp_mib: 3 } } };
    const script = `exec 2>&1; for f in /x /etc/hostname /etc/x /bin/x; do echo > $f; done
      df -k /tmp | tail -n 1; echo '#!/bin/sh' > /tmp/x; chmod +x /tmp/x; /tmp/x && echo ran; echo > /output/x`;
    const { result, task } = await runWith(settings, script);
    expect(result).toMatchObject({ kind: 'finished' });
    const lines = result.log.trimEnd().split('\n');
    expect(lines).toEqual([
      ...Array<unknown>(4).fill(expect.stringContaining('Read-only file system')),
      expect.stringMatching(/\s3072\s.* \/tmp$/),
      'ran',
    ]);
    expect(Object.keys(readZip(task.outputs[0] ?? Buffer.alloc(0)))).toEqual(['x']);
  });

  it('has memory where its image wants volumes, and no folder of the host', async () => {
    const settings = { policy: { read_only_root: { tmp_mib: 3 } } };
    const script = `for f in /data /srv/deep /output /tmp; do echo > $f/x; done
      df -k -P /data /srv/deep | tail -n 2 | awk '{ print $1, $2, $6 }'`;
    const image = await imageOf(['VOLUME /data /srv/deep/', 'VOLUME /output /tmp /input']);
    const { result, task } = await runWith(settings, script, image);
    expect(result).toMatchObject({
      kind: 'finished',
      log: 'tmpfs 3072 /data\ntmpfs 3072 /srv/deep\n',
    });
    expect(Object.keys(readZip(task.outputs[0] ?? Buffer.alloc(0)))).toEqual(['x']);
    expect(await scene.traces()).toEqual([]);
  });

  it('is run by the runtime of that name', async () => {
    const { result } = await runWith({ policy: { runtime: otherRuntime } }, 'true');
    expect(result).toMatchObject({ kind: 'finished' });
  });

  it('is not run by another, where the engine has none of that name', async () => {
    const { result } = await runWith({ policy: { runtime: 'absent-runtime' } }, 'true');
    expect(result).toMatchObject({
      kind: 'fault',
      detail: expect.stringContaining('absent-runtime'),
    });
  });
});

describe('a consumer whose policy wants something of its engine', () => {
  it.each<[string, Policy, RegExp | undefined]>([
    ['has a runtime', { runtime: otherRuntime }, undefined],
    ['lacks a runtime', { runtime: 'runsc' }, /wants the runtime runsc; the engine has .*runc/],
    ['lacks user namespaces', { require_userns: true }, /wants user namespaces/],
  ])('takes tasks only where it has it: it %s', async (what, policy, refusal) => {
    const { hasUserNamespaces } = await scene.bench.engine.describe(never);
    const reason = policy.require_userns === true && hasUserNamespaces ? undefined : refusal;
    const consumer = await startTestConsumer(
      {
        ...{ id: `policy-${what.replaceAll(' ', '-')}`, policy, redis: await testRedis() },
        ...{ dockerHost: scene.own.dockerHost, apiUrl: scene.api.url },
      },
      never,
    );
    const last = () => scene.api.registrations.at(-1);
    try {
      if (reason === undefined) await expect.poll(() => last()?.state, waits).toBe('ready');
      else await expect.poll(() => last()?.reason ?? '', waits).toMatch(reason);
      if (reason !== undefined) expect(last()?.state).toBe('quarantined');
    } finally {
      await consumer.close();
    }
  });
});

describe('a model that asks for more than usual', () => {
  const network = 'is-test-policy';
  const seesOf = async (rights: Partial<Rights>, policy: Policy = {}) =>
    (
      await runWith({ policy }, 'ls /sys/class/net; grep ^CapEff /proc/self/status; id -u', {
        rights,
      })
    ).result;

  beforeAll(async () => {
    const { api, installationId } = scene.own;
    const IPAM = { Config: [{ Subnet: '10.213.77.0/28' }] };
    const Labels = { test: installationId };
    await api.call('POST', '/networks/create', { Name: network, Internal: true, IPAM, Labels });
  });

  afterAll(() => scene.own.api.call('DELETE', `/networks/${network}`));

  it('does not have it without a policy of the host', async () => {
    for (const rights of [{ network }, { cap_add: ['SYS_NICE'] }]) {
      expect(await seesOf(rights)).toMatchObject({ kind: 'failed', reason: 'not_allowed' });
    }
  });

  it('has it where the policy allows it, and no more', async () => {
    const policy = { allow: [{ model: 'te*', networks: [network], cap_add: ['SYS_NICE'] }] };
    const { log } = await seesOf({ network, cap_add: ['SYS_NICE'] }, policy);
    expect(log).toBe('eth0\nlo\nCapEff:\t0000000000800000\n0\n');
  });

  it('has less by itself', async () => {
    const { log } = await seesOf({ user: '1234', read_only_root: true });
    expect(log).toBe('lo\nCapEff:\t0000000000000000\n1234\n');
  });
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
  // A registry that is slow, as on a busy machine, is a fault.
  expect(result.kind).toMatch(/^failed$|^fault$/);
  for (const word of ['canary', secret]) {
    expect(inspect(result, { depth: 9, maxStringLength: null })).not.toContain(word);
  }
});

const json = { 'content-type': 'application/json' };
const noManifest = JSON.stringify({
  errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown', detail: {} }],
});

/** The image of the scene, or one like it with these changes. */
async function imageOf(changes: readonly string[] | undefined): Promise<RunOptions> {
  if (changes === undefined) return {};
  const { api, image, installationId } = scene.own;
  const tag = `policy-test:${installationId}-${(images += 1)}`;
  return { image: await makeScriptImage(api, image, tag, changes) };
}

let images = 0;

async function runWith(settings: Partial<RunSettings>, script: string, options: RunOptions = {}) {
  const task = scene.taskOf(scriptZip(script), options);
  const running = await scene.bench.start(task, settings);
  const result = await task.settled;
  await running.cleaned;
  return { task, result };
}
