import { Readable } from 'node:stream';
import { afterEach, beforeAll, expect, inject, it } from 'vitest';
import { tarEnd, tarHeader } from '@inference-server/archive';
import {
  createDockerEngine,
  discoveryContainer,
  type ContainerEngine,
} from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import {
  createGpuStandIn,
  ownEngine,
  testFolder,
  type GpuStandIn,
  type OwnEngine,
} from '@inference-server/testing';
import { createNvidiaSmi } from '../../src/devices/nvidia-smi.js';
import { createContainedSmi } from '../../src/devices/nvidia-smi-container.js';
import { createNames } from '../../src/names.js';
import { makeScriptImage } from '../images.js';

const never = new AbortController().signal;
const names = createNames('discovery-test', 'consumer-a');
let gpus: GpuStandIn;
let own: OwnEngine;
let engine: ContainerEngine;
let count = 0;

beforeAll(async () => {
  gpus = await createGpuStandIn(await testFolder());
  own = await ownEngine({ gpus });
  engine = createDockerEngine({ dockerHost: own.dockerHost });
});

afterEach(async () => {
  await gpus.fail(undefined);
  await gpus.mend('all');
  expect(await own.api.listObjects()).toEqual([]);
});

it('tells of the same GPUs as the program on the host', async () => {
  const [whole = ''] = gpus.uuids;
  await gpus.tell(whole, { recoveryAction: 'Reset' });
  const found = await list();
  expect(found.gpus.map(({ uuid }) => uuid)).toEqual(gpus.uuids);
  expect(found.gpus[0]).toMatchObject({ needs: 'Reset' });
  const environment = { ...inject('environment'), PATH: `${gpus.path}:/usr/bin:/bin` };
  expect(found).toEqual(await createNvidiaSmi({ environment }).list(never));
  expect((await gpus.calls()).map(({ devices }) => devices)).toEqual([['all']]);
});

it('sees the processes of the host', async () => {
  const smi = smiOf(await imageWith('sees', 'grep -l vitest /proc/[0-9]*/cmdline; exit 9'));
  await expect(smi.sample(never)).rejects.toThrow(/nvidia-smi ended with 9: .*\/cmdline/);
  await smi.close();
});

it('goes on in another container when its own has ended, or has lost the devices', async () => {
  const smi = smiOf(own.image);
  const uuids = async () => (await smi.list(never)).gpus.map(({ uuid }) => uuid);
  expect(await uuids()).toEqual(gpus.uuids);
  const [first] = await containers();
  await own.api.call('POST', `/containers/${first}/kill`);
  expect(await uuids()).toEqual(gpus.uuids);
  const [second, ...more] = await containers();
  expect(more).toEqual([]);
  expect(second).not.toBe(first);
  // What it was brought has the answers of then: this one cannot use its devices any more.
  const script = 'echo "Failed to initialize NVML: Unknown Error" > /run/gpu-stand-in/failure';
  await engine.runCommand(second!, ['sh', '-c', script], { timeoutMs: 9_000, maxBytes: 1 }, never);
  const sample = await smi.sample(never);
  expect([...sample.utilization.keys()]).toContain(gpus.uuids[0]);
  expect(await containers()).toEqual([expect.not.stringMatching(second!)]);
  await smi.close();
});

it.each(['No devices were found', ''])(
  'believes no GPU at all only of a new container: %j',
  async (words) => {
    const smi = smiOf(own.image);
    const uuids = async () => (await smi.list(never)).gpus.map(({ uuid }) => uuid);
    expect(await uuids()).toEqual(gpus.uuids);
    const [first] = await containers();
    const script = `printf '#!/bin/sh\\necho "${words}"\\n' > /usr/bin/nvidia-smi`;
    await engine.runCommand(first!, ['sh', '-c', script], { timeoutMs: 9_000, maxBytes: 1 }, never);
    expect(await uuids()).toEqual(gpus.uuids);
    expect(await containers()).toEqual([expect.not.stringMatching(first!)]);
    await smi.close();
  },
);

it('believes a second container that there is no GPU', async () => {
  const there = new Set((await list()).gpus.map(({ uuid, gpuUuid = uuid }) => gpuUuid));
  const calls = (await gpus.calls()).length;
  for (const uuid of there) await gpus.lose(uuid);
  expect(await list()).toMatchObject({ gpus: [], failures: [] });
  expect((await gpus.calls()).length - calls).toBe(2);
  for (const uuid of there) await gpus.mend(uuid);
});

it('gives up when no container lasts', async () => {
  const lasting = createContainedSmi(engine, async () => ({
    ...specOf(own.image),
    command: ['true'],
  }));
  await expect(lasting.list(never)).rejects.toThrow('does not last');
});

it('tells why the engine does not give them', async () => {
  await gpus.break('all', 'driver not loaded');
  await expect(list()).rejects.toMatchObject({
    problem: 'failed',
    message: expect.stringContaining('driver not loaded'),
  });
  await expect(list({ gpus: 'nvidia.com/gpu=none' })).rejects.toBeInstanceOf(AppError);
  await expect(list({ image: 'nobody/has-it:1' })).rejects.toMatchObject({
    problem: 'image_absent',
  });
});

it('tells why the program failed', async () => {
  await gpus.fail("couldn't communicate with the NVIDIA driver");
  await expect(list()).rejects.toThrow(
    "nvidia-smi ended with 255: couldn't communicate with the NVIDIA driver",
  );
});

it('ends a program that hangs, or that nobody waits for any more', async () => {
  const image = await imageWith('hangs', 'trap "" TERM; sleep 1000');
  await expect(list({ image, timeoutMs: 1_500 })).rejects.toThrow(
    'nvidia-smi did not end within 1.5 s in a container.',
  );
  const reason = new AppError('CONFLICT', 'enough');
  const asking = new AbortController();
  const failure = list({ image }, asking.signal);
  setTimeout(() => {
    asking.abort(reason);
  }, 1_500);
  await expect(failure).rejects.toBe(reason);
  await expect(list({ image }, AbortSignal.abort(reason))).rejects.toBe(reason);
});

it('refuses what is too long, or no answer', async () => {
  const image = await imageWith(
    'long',
    'yes 0123456789012345678901234567890123456789 | head -c 5m',
  );
  await expect(list({ image })).rejects.toThrow('longer than 4 MiB');
  const wrong = await imageWith('wrong', 'echo no GPUs today');
  await expect(list({ image: wrong })).rejects.toThrow('not understood');
});

async function list(
  { image = own.image, gpus: asked = 'all', timeoutMs = 60_000 } = {},
  signal: AbortSignal = never,
) {
  const smi = createContainedSmi(engine, async () => specOf(image, asked), { timeoutMs });
  try {
    return await smi.list(signal);
  } finally {
    await smi.close();
  }
}

function smiOf(image: string) {
  return createContainedSmi(engine, async () => specOf(image));
}

function specOf(image: string, asked = 'all') {
  return discoveryContainer({ ...names.discovery(`${(count += 1)}`), image, gpus: asked });
}

async function containers(): Promise<string[]> {
  return (await engine.listContainers(names.own, never)).map(({ id }) => id);
}

/** With a program of its own, which comes before the one that the stand-in brings. */
function imageWith(tag: string, script: string): Promise<string> {
  const content = Buffer.from(`#!/bin/sh\n${script}\n`);
  const modified = new Date(0);
  const name = 'usr/local/sbin/nvidia-smi';
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  const tar = Readable.from(
    [
      ...['usr/', 'usr/local/', 'usr/local/sbin/'].map((folder) =>
        tarHeader({ name: folder, mode: 0o755, bytes: 0, modified }),
      ),
      tarHeader({ name, mode: 0o755, bytes: content.length, modified }),
      content,
      padding,
      tarEnd,
    ],
    { objectMode: false },
  );
  return makeScriptImage(own.api, own.image, `discovery-test:${tag}`, [], tar);
}
