import { afterEach, beforeAll, expect, it } from 'vitest';
import { createGpuStandIn, testFolder, type GpuStandIn } from '@inference-server/testing';
import { createDockerEngine, modelContainer, type ContainerEngine } from '../src/index.js';
import { createOptions } from '../src/docker/create-options.js';
import { importBusybox, startOwnEngine, type OwnEngine } from './own-engine.js';

// No GPU here: the engine offers its nvidia driver when it finds the vendor's hook on its PATH.
const signal = new AbortController().signal;
let gpus: GpuStandIn;
let uuid: string;
let own: OwnEngine;
let engine: ContainerEngine;

beforeAll(async () => {
  gpus = await createGpuStandIn(await testFolder());
  [uuid = ''] = gpus.uuids;
  own = await startOwnEngine({ extraPath: gpus.path });
  engine = createDockerEngine({ dockerHost: own.dockerHost });
  await importBusybox(own.docker, 'busybox:greedy', ['ENV NVIDIA_VISIBLE_DEVICES=all']);
});

afterEach(async () => {
  for (const { id } of await engine.listContainers({}, signal)) {
    await engine.removeContainer(id, signal);
  }
});

it('asks for exactly the one device, whatever the image wants', async () => {
  const id = await createGpuContainer(uuid);
  const exit = engine.waitForExit(id, signal);
  expect(await engine.startContainer(id, signal)).toEqual({ started: true });
  await exit;
  const { text } = await engine.readLogs(id, { maxBytes: 1000, maxLines: 10 }, signal);
  expect(text.trim()).toBe(uuid);
  expect(await gpus.calls()).toEqual([{ container: id, devices: [uuid] }]);
});

it('tells why a device cannot be given', async () => {
  await gpus.break(uuid, 'no such device');
  const id = await createGpuContainer(uuid);
  expect(await engine.startContainer(id, signal)).toEqual({
    started: false,
    startError: expect.stringContaining('no such device'),
  });
  await gpus.mend(uuid);
});

it('names a MIG device and a CDI device in their own ways', () => {
  const requestFor = (gpu: string | null) =>
    createOptions(specOf(gpu)).HostConfig?.DeviceRequests ?? null;
  expect(requestFor('MIG-1')).toEqual([
    { Driver: 'nvidia', DeviceIDs: ['MIG-1'], Capabilities: [['gpu']] },
  ]);
  expect(requestFor('nvidia.com/gpu=0')).toEqual([
    { Driver: 'cdi', DeviceIDs: ['nvidia.com/gpu=0'] },
  ]);
  expect(requestFor(null)).toBeNull();
});

function createGpuContainer(gpu: string): Promise<string> {
  const spec = {
    ...specOf(gpu),
    mounts: [],
    command: ['sh', '-c', 'echo $NVIDIA_VISIBLE_DEVICES'],
  };
  return engine.createContainer(spec, signal);
}

function specOf(gpu: string | null) {
  return modelContainer({
    name: 'gpu-model',
    image: 'busybox:greedy',
    labels: {},
    volumes: { input: 'in', output: 'out', model: null },
    limits: {
      memoryBytes: 32 * 1024 ** 2,
      cpus: 1,
      processes: 10,
      shmBytes: 1024 ** 2,
      logBytes: 64 * 1024,
      fileBytes: 1024 ** 3,
    },
    gpus: gpu === null ? [] : [gpu],
  });
}
