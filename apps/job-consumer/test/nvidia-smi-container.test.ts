import { Readable } from 'node:stream';
import { afterEach, beforeAll, expect, inject, it } from 'vitest';
import { tarEnd, tarHeader } from '@inference-server/archive';
import { createDockerEngine, type ContainerEngine } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import {
  createGpuStandIn,
  ownEngine,
  testFolder,
  type GpuStandIn,
  type OwnEngine,
} from '@inference-server/testing';
import { createNvidiaSmi } from '../src/devices/nvidia-smi.js';
import { listGpusInContainer } from '../src/devices/nvidia-smi-container.js';
import { createNames } from '../src/names.js';
import { makeScriptImage } from './images.js';

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
  await gpus.setUsed(whole, 321);
  const found = await list();
  expect(found.map(({ uuid }) => uuid)).toEqual(gpus.uuids);
  expect(found[0]).toMatchObject({ usedMib: 321 });
  const environment = { ...inject('environment'), PATH: `${gpus.path}:/usr/bin:/bin` };
  expect(found).toEqual(await createNvidiaSmi({ environment }).list(never));
  expect((await gpus.calls()).map(({ devices }) => devices)).toEqual([['all'], ['all']]);
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
  await expect(list({ image })).rejects.toThrow('more than 4 MiB');
  const wrong = await imageWith('wrong', 'echo no GPUs today');
  await expect(list({ image: wrong })).rejects.toThrow('not understood');
});

function list(
  options: Partial<Parameters<typeof listGpusInContainer>[1]> = {},
  signal: AbortSignal = never,
) {
  const usual = { image: own.image, ...names.discovery(`${(count += 1)}`) };
  return listGpusInContainer(engine, { ...usual, ...options }, signal);
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
