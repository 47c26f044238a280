import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConsumerDetails } from '@inference-server/contracts';
import type { ModelRegistration } from '@inference-server/sdk';
import {
  createGpuStandIn,
  ownEngine,
  startApp,
  testFolder,
  waitUntil,
  type ContainerRun,
  type GpuStandIn,
  type OwnEngine,
  type TestApp,
} from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, zipOfScript, type ScriptTasks } from '../script-tasks.js';

// No GPU here: the engine finds a stand-in for the vendor's hook, the consumers one for nvidia-smi.

const gpu = (at: number) => ({
  uuid: `GPU-${at}f1c2a3b-0000-4000-8000-000000000001`,
  name: 'NVIDIA L40S',
  memoryMib: 46_068,
  usedMib: 4,
});
const slice = (at: number, profile: string, memoryMib: number) => ({
  uuid: `MIG-${at}a2d3b4c-0000-5000-8000-000000000001`,
  profile,
  memoryMib,
  usedMib: 0,
});
const divided = {
  ...{ uuid: 'GPU-3f1c2a3b-0000-4000-8000-000000000001', name: 'NVIDIA A100-SXM4-80GB' },
  ...{ memoryMib: 81_920, usedMib: 0 },
  slices: [slice(1, '3g.40gb', 40_192), slice(2, '1g.10gb', 9_728)],
};
const consumerOf = {
  [gpu(1).uuid]: 'lab-gpu-1f1c2a3b',
  [gpu(2).uuid]: 'lab-gpu-2f1c2a3b',
  [divided.slices[0]!.uuid]: 'lab-gpu-1a2d3b4c',
  [divided.slices[1]!.uuid]: 'lab-gpu-2a2d3b4c',
};
const reserveMib = 512;
const memoryOf = new Map(
  [gpu(1), gpu(2), ...divided.slices].map(({ uuid, memoryMib }) => [uuid, memoryMib - reserveMib]),
);

/** Each runs what its task brings. */
const models = {
  cpu: {},
  alone: { use_gpu: true },
  small: { use_gpu: true, gpu_memory_mib: 9_000, memory_mib: 32, cpus: 0.1 },
  middle: { use_gpu: true, gpu_memory_mib: 20_000, memory_mib: 32, cpus: 0.1 },
  large: { use_gpu: true, gpu_memory_mib: 45_000, memory_mib: 32, cpus: 0.1 },
  pair: { use_gpu: true, gpu_count: 2 },
  'shared-pair': { use_gpu: true, gpu_count: 2, gpu_memory_mib: 15_000, memory_mib: 64, cpus: 0.2 },
} satisfies Record<string, Partial<ModelRegistration>>;
type ModelName = keyof typeof models;

let gpus: GpuStandIn;
let engine: OwnEngine;
let server: RunningServer;
let tasks: ScriptTasks;
let runs: () => ContainerRun[];
let lab: TestApp;

beforeAll(async () => {
  gpus = await createGpuStandIn(await testFolder(), [gpu(1), gpu(2), divided]);
  engine = await ownEngine({ gpus });
  server = await runServer({}, { engine });
  await server.startPrivateApi({ LEASE_S: '15', MAX_ATTEMPTS: '3' });
  await server.startPublicApi();
  lab = await startLab();
  runs = await engine.api.watchRuns('inference-server.task');
  tasks = await scriptTasks(server);
  for (const [id, needs] of Object.entries(models)) await server.postModel(id, needs);
}, 120_000);

/** The consumers of one host; by default all that it can have, once they are ready. */
const startLab = (
  settings: Record<string, string> = {},
  ready = async () => {
    const all = (await consumers()).filter(({ state }) => state === 'ready');
    return all.length === 5;
  },
): Promise<TestApp> =>
  startApp({
    app: 'job-consumer',
    settings: {
      ...server.consumerSettings,
      ...{ CONSUMER_ID: 'lab', GPUS: 'auto', GPU_RESERVE_MIB: String(reserveMib) },
      ...{ CPU_SLOTS: '2', CONTAINER_MEMORY_MIB: '', QUARANTINE_S: '1', SWEEP_INTERVAL_S: '2' },
      PATH: `${gpus.path}:/usr/bin:/bin`,
      ...settings,
    },
    ready,
  });

const consumers = async () => {
  const answer = await fetch(`${server.privateApiUrl}/api/consumers/`, {
    headers: { authorization: `Bearer ${server.token}` },
  });
  return (await answer.json()) as ConsumerDetails[];
};

const post = (model: ModelName, script: string) =>
  server.client.postTask({ human_readable_id: model, zip: zipOfScript(script) });

/** What its container saw, after so long. */
const seen = (seconds = 0) => `sleep ${seconds}; echo "$NVIDIA_VISIBLE_DEVICES" > /output/result`;

async function devicesSeenBy(uid: string): Promise<string[]> {
  const signal = AbortSignal.timeout(240_000);
  const { zip } = await server.client.waitForTask(uid, { signal });
  const archive = new AdmZip(Buffer.from(await new Response(zip).arrayBuffer()));
  return archive.readAsText('result').trim().split(',');
}

it('registers each device with what nvidia-smi tells of it, and the rest of the host', async () => {
  const found = await consumers();
  expect(found.map(({ id, device }) => [device?.uuid, id])).toEqual(
    expect.arrayContaining([[undefined, 'lab-cpu'], ...Object.entries(consumerOf)]),
  );
  expect(found.find(({ id }) => id === 'lab-gpu-2a2d3b4c')?.device).toMatchObject({
    name: 'NVIDIA A100-SXM4-80GB MIG 1g.10gb',
    memory_mib: 9_728 - reserveMib,
  });
  expect(new Set(found.map(({ process }) => process)).size).toBe(1);
});

it.each([
  ['cpu', ['void']],
  ['large', [expect.stringMatching(/^GPU-[12]f/)]],
] as const)('gives a task of %s exactly what its model says', async (model, devices) => {
  expect(await devicesSeenBy(await post(model, seen()))).toEqual(devices);
});

it('gives a task two GPUs, and holds none of them twice', async () => {
  const [first, second] = await Promise.all([post('pair', seen(1)), post('pair', seen(1))]);
  for (const uid of [first, second]) {
    expect((await devicesSeenBy(uid)).sort()).toEqual([gpu(1).uuid, gpu(2).uuid]);
  }
  await expectNothingOvercommitted(new Map([first, second].map((uid) => [uid, 'pair'])));
});

it('has small tasks share a device, and leaves none idle', async () => {
  const uids = await Promise.all(Array.from({ length: 12 }, () => post('small', seen(3))));
  await Promise.all(uids.map(devicesSeenBy));
  const ofThem = runs().filter(({ labels }) => uids.includes(labels[taskLabel] ?? ''));
  const most = Math.max(...ofThem.map((run) => ofThem.filter((o) => isAt(o, run)).length));
  // Five on each whole GPU, four on the large slice, one on the small one: all at once.
  expect(most).toBe(12);
}, 120_000);

it('never over-commits a device with 200 random tasks, by the events of the engine', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = randomOf(seed);
  const names = Object.keys(models) as ModelName[];
  const modelOf = new Map<string, ModelName>();
  for (let at = 0; at < 200; at += 1) {
    // Mostly small ones, as it is.
    const model = random() < 0.5 ? 'small' : names[Math.floor(random() * names.length)]!;
    modelOf.set(await post(model, seen(Math.round(random() * 4) / 10)), model);
  }
  for (const [uid, model] of modelOf) {
    const devices = await devicesSeenBy(uid);
    const { use_gpu: onGpu = false, gpu_count: count = 1 } = models[model] as ModelRegistration;
    const isRight = onGpu ? devices.every((one) => memoryOf.has(one)) : devices[0] === 'void';
    expect(
      isRight && new Set(devices).size === count,
      `seed ${seed}, ${model}: ${devices.join()}`,
    ).toBe(true);
    expect(await tasks.attemptsOf(uid)).toHaveLength(1);
  }
  await expectNothingOvercommitted(modelOf, `seed ${seed}`);
}, 300_000);

describe('a device that no container gets', () => {
  it('is quarantined with the reason, the task runs elsewhere, and a probe brings it back', async () => {
    const [first, second] = [gpu(1).uuid, gpu(2).uuid];
    await gpus.break(first, 'nvidia-container-cli: device error: unknown device');
    await gpus.break(second, 'nvidia-container-cli: device error: unknown device');
    const uid = await post('large', seen());
    await untilState(first, 'quarantined', 'unknown device');
    await untilState(second, 'quarantined', 'unknown device');
    await gpus.mend(second);
    expect(await devicesSeenBy(uid)).toEqual([second]);
    const attempts = await tasks.attemptsOf(uid);
    expect(attempts.slice(0, -1)).toEqual(
      attempts
        .slice(0, -1)
        .map(({ number }) => ({ number, outcome: 'fault', reason: 'device_lost' })),
    );
    await gpus.mend(first);
    await untilState(first, 'ready');
  }, 120_000);
});

it('makes no failure of the model of a device that is lost while its container runs', async () => {
  const [lost, other] = [gpu(1).uuid, gpu(2).uuid];
  const script = [
    'until [ -e /tmp/released ]; do sleep 0.1; done',
    `[ "$NVIDIA_VISIBLE_DEVICES" = ${lost} ] && exit 3`,
    seen(),
  ].join('\n');
  const uids = [await post('large', script), await post('large', script)];
  for (const uid of uids) await tasks.untilItRuns(uid);
  const [onLost, onOther] = (await deviceOf(uids[0]!)) === lost ? uids : uids.toReversed();
  await gpus.lose(lost);
  await tasks.release(onLost!);
  await untilState(lost, 'quarantined', 'nvidia-smi knows no');
  await tasks.release(onOther!);
  expect(await devicesSeenBy(onOther!)).toEqual([other]);
  await tasks.untilItRuns(onLost!);
  await tasks.release(onLost!);
  expect(await devicesSeenBy(onLost!)).toEqual([other]);
  expect(await tasks.attemptsOf(onLost!)).toEqual([
    { number: 1, outcome: 'fault', reason: 'device_lost' },
    { number: 2, outcome: 'finished', reason: null },
  ]);
  await gpus.mend(lost);
  await untilState(lost, 'ready');
}, 120_000);

it('leaves devices to what runs on them, whichever of their consumers come back', async () => {
  const pair = await post('pair', `until [ -e /tmp/released ]; do sleep 0.1; done; ${seen()}`);
  await tasks.untilItRuns(pair);
  await lab.stop();
  const [row] = await server.database.query<{ lenders: string[] }>(
    'SELECT lenders FROM tasks WHERE uid = $1',
    [pair],
  );
  const lender = Object.entries(consumerOf).find(([, id]) => id === row?.lenders[0])![0];
  lab = await startLab({ GPUS: lender, CPU_SLOTS: '0' }, async () => {
    const found = (await consumers()).find(({ id }) => id === consumerOf[lender]);
    return found?.reason?.includes('nobody is in charge of') === true;
  });
  const waiting = await post('alone', seen());
  await lab.stop();
  lab = await startLab();
  await tasks.release(pair);
  expect((await devicesSeenBy(pair)).sort()).toEqual([gpu(1).uuid, gpu(2).uuid]);
  expect(await tasks.attemptsOf(pair)).toHaveLength(1);
  await devicesSeenBy(waiting);
  await expectNothingOvercommitted(
    new Map<string, ModelName>([
      [pair, 'pair'],
      [waiting, 'alone'],
    ]),
  );
}, 120_000);

async function deviceOf(uid: string): Promise<string | undefined> {
  const run = runs().find(({ labels }) => labels[taskLabel] === uid);
  return (await gpus.calls()).find(({ container }) => container === run?.id)?.devices[0];
}

async function untilState(device: string, state: string, reason = ''): Promise<void> {
  let found: ConsumerDetails | undefined;
  const is = async () => {
    found = (await consumers()).find(({ id }) => id === consumerOf[device]);
    return found?.state === state && (found.reason ?? '').includes(reason);
  };
  if (await waitUntil(is, { timeoutMs: 30_000 })) return;
  throw new Error(`${device} is ${found?.state}: ${found?.reason}`);
}

const taskLabel = 'inference-server.task';

/** Held against what the hook was called with and when the engine started and ended it, not our own books. */
async function expectNothingOvercommitted(
  modelOf: ReadonlyMap<string, ModelName>,
  message = '',
): Promise<void> {
  const devicesOf = new Map((await gpus.calls()).map((call) => [call.container, call.devices]));
  const all = runs().filter(({ labels }) => modelOf.has(labels[taskLabel] ?? ''));
  expect(all.length, message).toBe(modelOf.size);
  const onGpu = all.filter(({ labels }) => 'use_gpu' in models[modelOf.get(labels[taskLabel]!)!]);
  expect(
    onGpu.every(({ id }) => devicesOf.has(id)),
    message,
  ).toBe(true);
  for (const [uuid, memoryMib] of memoryOf) {
    const onIt = all.filter(({ id }) => devicesOf.get(id)?.includes(uuid));
    for (const run of onIt) {
      const words = onIt
        .filter((other) => isAt(other, run))
        .map(
          ({ labels }) => models[modelOf.get(labels[taskLabel]!)!] as Partial<ModelRegistration>,
        );
      const isAlone = words.length === 1;
      const sum = words.reduce((mib, { gpu_memory_mib: each }) => mib + (each ?? Infinity), 0);
      expect(isAlone || sum <= memoryMib, `${message} ${uuid}: ${JSON.stringify(words)}`).toBe(
        true,
      );
    }
  }
}

/** Whether it ran when `run` was started. */
function isAt(other: ContainerRun, run: ContainerRun): boolean {
  return other.startedAtMs <= run.startedAtMs && run.startedAtMs < other.endedAtMs;
}

/** mulberry32 (public domain). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
