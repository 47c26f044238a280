import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { createDockerEngine, modelContainer, type ContainerEngine } from '../src/index.js';
import { createOptions } from '../src/docker/create-options.js';
import { importBusybox, startOwnEngine, type OwnEngine } from './own-engine.js';

// No GPU here: the engine offers its nvidia driver when it finds the vendor's hook on its PATH, and
// this stand-in for the hook records what it is called with.
const hook = (folder: string) => `#!/bin/sh
[ -e ${folder}/broken ] && { echo "no such device" >&2; exit 1; }
echo "$1" >> ${folder}/calls
cat > /dev/null
`;

const uuid = 'GPU-6f1c2a3b-0000-4000-8000-0123456789ab';
const signal = new AbortController().signal;
let folder: string;
let own: OwnEngine;
let engine: ContainerEngine;

beforeAll(async () => {
  folder = await testFolder();
  const path = join(folder, 'nvidia-container-runtime-hook');
  await writeFile(path, hook(folder));
  await chmod(path, 0o755);
  own = await startOwnEngine({ extraPath: folder });
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
  expect(await readFile(join(folder, 'calls'), 'utf8')).toContain('prestart');
});

it('tells why a device cannot be given', async () => {
  await writeFile(join(folder, 'broken'), '');
  const id = await createGpuContainer(uuid);
  expect(await engine.startContainer(id, signal)).toEqual({
    started: false,
    startError: expect.stringContaining('no such device'),
  });
  await rm(join(folder, 'broken'));
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
    gpu,
  });
}
