import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import AdmZip from 'adm-zip';
import { beforeAll, expect, inject, it } from 'vitest';
import type { ConsumerDetails } from '@inference-server/contracts';
import type { ModelRegistration } from '@inference-server/sdk';
import { consumerToken } from '@inference-server/service-kit';
import { startApp, type ContainerRun } from '@inference-server/testing';
import { makeScriptImage, runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, zipOfScript, type ScriptTasks } from '../script-tasks.js';

/**
 * For a machine with NVIDIA GPUs: `GPU_TEST_IMAGE=… npm run test:gpu`, see docs/gpus.md. The engine of
 * DOCKER_HOST, or of the usual socket, must have the image (glibc, Python 3) and the container toolkit;
 * nvidia-smi must be on the PATH. Other work on the GPUs may make models fail here.
 */

const environment = inject('environment');
const base = environment['GPU_TEST_IMAGE'] ?? '';
const image = 'inference-server-test/gpu:1';
const allocatedMib = 512;

const models = {
  cpu: {},
  alone: { use_gpu: true },
  small: { use_gpu: true, gpu_memory_mib: 1_500, memory_mib: 1_000, cpus: 0.1 },
  pair: { use_gpu: true, gpu_count: 2 },
  /** Its runs take more than that. */
  greedy: { use_gpu: true, gpu_memory_mib: allocatedMib / 2, memory_mib: 1_000, cpus: 0.1 },
} satisfies Record<string, Partial<ModelRegistration>>;
type ModelName = keyof typeof models;

let server: RunningServer;
let tasks: ScriptTasks;
let runs: () => ContainerRun[];
let devices: ConsumerDetails[];

beforeAll(async () => {
  if (base === '') throw new Error('GPU_TEST_IMAGE must name an image with glibc and Python 3.');
  server = await runServer();
  await makeScriptImage(server.engine.api, base, image);
  await server.startPrivateApi();
  await server.startPublicApi();
  await startApp({
    app: 'job-consumer',
    settings: {
      ...server.consumerSettings,
      ...{ GPUS: 'auto', CONTAINER_MEMORY_MIB: '' },
      CONSUMER_TOKEN: consumerToken(server.token, 'lab'),
      PATH: environment['PATH'] ?? '',
    },
    ready: async () => {
      const all = await consumers();
      return all.length > 1 && all.every(({ state }) => state === 'ready');
    },
    readyTimeoutMs: 60_000,
  });
  // A CDI name has the UUID behind its kind.
  devices = (await consumers()).flatMap((one) =>
    one.device === null
      ? []
      : [{ ...one, device: { ...one.device, uuid: one.device.uuid.replace(/^.*=/, '') } }],
  );
  tasks = await scriptTasks(server);
  runs = await server.engine.api.watchRuns(taskLabel);
  for (const [id, needs] of Object.entries(models)) {
    await server.client.postModel({
      ...{ human_readable_id: id, container_tag: image, pull_policy: 'never', ...needs },
    });
  }
}, 180_000);

it('registers the devices that nvidia-smi lists, and no others', async () => {
  const listing = await promisify(execFile)('nvidia-smi', ['-L'], { env: environment });
  const lines = listing.stdout.split('\n').map((line) => /UUID: ([^)]+)\)/.exec(line)?.[1] ?? '');
  // A GPU that is divided is there as its slices.
  const listed = lines.filter((uuid, at) => uuid !== '' && !lines[at + 1]?.startsWith('MIG-'));
  const slices = lines.filter((uuid) => uuid.startsWith('MIG-'));
  const expected = new Set([...listed, ...slices]);
  expect(new Set(devices.map(({ device }) => device?.uuid))).toEqual(expected);
  for (const { device } of devices) {
    expect(device).toEqual({
      uuid: expect.any(String),
      name: expect.any(String),
      memory_mib: expect.any(Number),
      driver: expect.any(String),
    });
  }
}, 120_000);

it('gives no device to a task without one', async () => {
  const uid = await post('cpu', 'ls /dev/nvidia* > /output/result 2>&1; true');
  expect(await tasks.resultOf(uid)).toMatch(/no such file/i);
}, 120_000);

it('never over-commits a device with 60 random tasks', async () => {
  const script = `nvidia-smi -L > /output/result; sleep 0.5`;
  const modelOf = new Map<string, ModelName>();
  for (let at = 0; at < 60; at += 1) {
    const model = Math.random() < 0.7 ? 'small' : 'alone';
    modelOf.set(await post(model, script), model);
  }
  const deviceOf = new Map<string, string>();
  for (const uid of modelOf.keys()) deviceOf.set(uid, onlyDeviceIn(await resultOf(uid)));
  const all = runs().flatMap((run) => {
    const uid = run.labels[taskLabel] ?? '';
    const model = modelOf.get(uid);
    return model === undefined ? [] : [{ ...run, model, device: deviceOf.get(uid) }];
  });
  expect(all).toHaveLength(60);
  for (const run of all) {
    const together = all.filter(
      ({ device, startedAtMs, endedAtMs }) =>
        device === run.device && startedAtMs <= run.startedAtMs && run.startedAtMs < endedAtMs,
    );
    const words = together.map(({ model }) =>
      model === 'small' ? models.small.gpu_memory_mib : Infinity,
    );
    const { device } = devices.find((one) => one.device?.uuid === run.device)!;
    const sum = words.reduce((total, mib) => total + mib);
    expect(
      together.length === 1 || sum <= device!.memory_mib!,
      `${run.device}: ${words.join()}`,
    ).toBe(true);
  }
}, 600_000);

it('sees what a run takes of a GPU, and packs none any more that takes more than it says', async () => {
  const greedy = `python3 -c '${allocation}' && nvidia-smi -L > /output/result`;
  const first = await post('greedy', greedy);
  await resultOf(first);
  const [attempt] = (await server.client.getTaskStatus(first)).attempts;
  expect(attempt?.usage?.gpu_memory_peak_mib).toBeGreaterThanOrEqual(allocatedMib);
  expect(attempt?.usage?.gpu_memory_peak_mib).toBeLessThan(8 * allocatedMib);
  expect(await server.client.getModel('greedy')).toMatchObject({ gpu_memory_exceeded: true });

  const alone = await post('greedy', greedy);
  await tasks.untilItRuns(alone);
  const beside = await Promise.all(
    devices.map(() => post('small', 'nvidia-smi -L > /output/result')),
  );
  const device = onlyDeviceIn(await resultOf(alone));
  const ofAlone = runs().find(({ labels }) => labels[taskLabel] === alone)!;
  for (const uid of beside) {
    const where = onlyDeviceIn(await resultOf(uid));
    const run = runs().find(({ labels }) => labels[taskLabel] === uid)!;
    expect(where !== device || run.startedAtMs >= ofAlone.endedAtMs).toBe(true);
  }
}, 300_000);

it('runs what needs two GPUs on two', async ({ skip }) => {
  const whole = devices.filter(({ device }) => device?.uuid.startsWith('GPU-'));
  if (whole.length < 2) skip('There is one GPU, or none that is not divided.');
  const listing = await resultOf(await post('pair', 'nvidia-smi -L > /output/result'));
  expect(new Set(listing.match(/GPU-[0-9a-f-]+/g)).size).toBe(2);
}, 120_000);

/** Holds so much of its GPU for longer than there is between two samples, by the driver's own library. */
const allocation = `
import ctypes, time
cuda = ctypes.CDLL("libcuda.so.1")
def ok(code):
    if code: raise SystemExit("CUDA error %d" % code)
device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
ok(cuda.cuInit(0))
ok(cuda.cuDeviceGet(ctypes.byref(device), 0))
ok(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
ok(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(${allocatedMib} << 20)))
time.sleep(12)
`;

const taskLabel = 'inference-server.task';

function post(model: ModelName, script: string): Promise<string> {
  return server.client.postTask({ human_readable_id: model, zip: zipOfScript(script) });
}

async function resultOf(uid: string): Promise<string> {
  const signal = AbortSignal.timeout(500_000);
  const { zip } = await server.client.waitForTask(uid, { signal });
  return new AdmZip(Buffer.from(await new Response(zip).arrayBuffer())).readAsText('result');
}

/** A container with a slice sees the GPU of it, too. */
function onlyDeviceIn(listing: string): string {
  const uuids = [...listing.matchAll(/UUID: ((?:GPU|MIG)-[^)]+)\)/g)].map(([, uuid = '']) => uuid);
  const slices = uuids.filter((uuid) => uuid.startsWith('MIG-'));
  const [device, ...more] = slices.length > 0 ? slices : uuids;
  expect({ device, more }).toEqual({ device: expect.any(String), more: [] });
  return device!;
}

async function consumers(): Promise<ConsumerDetails[]> {
  const answer = await fetch(`${server.privateApiUrl}/api/consumers/`, {
    headers: { authorization: `Bearer ${server.token}` },
  });
  return (await answer.json()) as ConsumerDetails[];
}
