import { availableParallelism, totalmem } from 'node:os';
import AdmZip from 'adm-zip';
import { expect } from 'vitest';
import type { ConsumerDetails } from '@inference-server/contracts';
import type { ModelRegistration } from '@inference-server/sdk';
import { consumerToken } from '@inference-server/service-kit';
import {
  createGpuStandIn,
  ownEngine,
  startApp,
  testFolder,
  waitUntil,
  type ContainerRun,
  type TestApp,
} from '@inference-server/testing';
import { runServer } from '../running-server.js';
import { scriptTasks, zipOfScript } from '../script-tasks.js';

// No GPU here: the engine finds a stand-in for the vendor's hook, the consumers one for nvidia-smi.

export const gpu = (at: number) => ({
  uuid: `GPU-${at}f1c2a3b-0000-4000-8000-000000000001`,
  name: 'NVIDIA L40S',
  memoryMib: 46_068,
});
const slice = (at: number, profile: string, memoryMib: number) => ({
  uuid: `MIG-${at}a2d3b4c-0000-5000-8000-000000000001`,
  profile,
  memoryMib,
});
const largeSlice = slice(1, '3g.40gb', 40_192);
const smallSlice = slice(2, '1g.10gb', 9_728);
export const divided = {
  ...{ uuid: 'GPU-3f1c2a3b-0000-4000-8000-000000000001', name: 'NVIDIA A100-SXM4-80GB' },
  ...{ memoryMib: 81_920, largeSlice, slices: [largeSlice, smallSlice] },
};
export const consumerOf = {
  [gpu(1).uuid]: 'lab-gpu-1f1c2a3b',
  [gpu(2).uuid]: 'lab-gpu-2f1c2a3b',
  [largeSlice.uuid]: 'lab-gpu-1a2d3b4c',
  [smallSlice.uuid]: 'lab-gpu-2a2d3b4c',
};
export const reserveMib = 512;
export const memoryOf = new Map(
  [gpu(1), gpu(2), ...divided.slices].map(({ uuid, memoryMib }) => [uuid, memoryMib - reserveMib]),
);

/** Each of the five consumers has an even part of the host. */
function cores(part: number): number {
  return Math.floor((availableParallelism() / 5) * part * 100) / 100;
}
function mib(part: number): number {
  return Math.floor((totalmem() / 1024 ** 2 / 5) * 0.9 * part);
}

/** Each runs what its task brings. */
export const models = {
  cpu: {},
  alone: { use_gpu: true },
  small: { use_gpu: true, gpu_memory_mib: 9_000, memory_mib: 32, cpus: 0.02 },
  middle: { use_gpu: true, gpu_memory_mib: 20_000, memory_mib: 32, cpus: 0.1 },
  /** Says no more than what it takes of the GPU. */
  terse: { use_gpu: true, gpu_memory_mib: 4_000 },
  /** Two of them have no room beside each other, for want of cores, or of memory. */
  busy: { use_gpu: true, gpu_memory_mib: 1_000, memory_mib: 32, cpus: cores(0.6) },
  wide: { use_gpu: true, gpu_memory_mib: 1_000, memory_mib: mib(0.6), cpus: 0.02 },
  large: { use_gpu: true, gpu_memory_mib: 45_000, memory_mib: 32, cpus: 0.1 },
  /** Its runs take more than that. */
  greedy: { use_gpu: true, gpu_memory_mib: 30_000, memory_mib: 32, cpus: 0.1 },
  pair: { use_gpu: true, gpu_count: 2 },
  'shared-pair': { use_gpu: true, gpu_count: 2, gpu_memory_mib: 15_000, memory_mib: 64, cpus: 0.2 },
} satisfies Record<string, Partial<ModelRegistration>>;
export type ModelName = keyof typeof models;

/** What a task's container saw, after so long. */
export const seen = (seconds = 0) =>
  `sleep ${seconds}; echo "$NVIDIA_VISIBLE_DEVICES" > /output/result`;

export type GpuLab = Awaited<ReturnType<typeof openGpuLab>>;

/** A whole server, and the consumers of one host with two GPUs, and one in two slices. */
export async function openGpuLab() {
  const gpus = await createGpuStandIn(await testFolder(), [gpu(1), gpu(2), divided]);
  const engine = await ownEngine({ gpus });
  const server = await runServer({}, { engine });
  await server.startPrivateApi({ LEASE_S: '15', MAX_ATTEMPTS: '3' });
  await server.startPublicApi();
  let app = await start();
  const runs = await engine.api.watchRuns(taskLabel);
  const tasks = await scriptTasks(server);
  for (const [id, needs] of Object.entries(models)) await server.postModel(id, needs);

  return {
    gpus,
    server,
    tasks,
    runs,
    consumers,
    /** One with a shell. */
    image: engine.image,
    log: () => app.log(),
    stop: () => app.stop(),
    /** Its consumers; by default all that the host can have. Resolves once they are ready. */
    async start(settings?: Record<string, string>, ready?: () => Promise<boolean>): Promise<void> {
      app = await start(settings, ready);
    },

    /** Another process on the same host, of which nothing is waited for. */
    startRival: (settings: Record<string, string>) =>
      start(
        { CONSUMER_TOKEN: consumerToken(server.token, 'rival'), ...settings },
        async () => true,
      ),

    post: (model: ModelName, script: string) =>
      server.client.postTask({ human_readable_id: model, zip: zipOfScript(script) }),

    async devicesSeenBy(uid: string): Promise<string[]> {
      const signal = AbortSignal.timeout(240_000);
      const { zip } = await server.client.waitForTask(uid, { signal });
      const archive = new AdmZip(Buffer.from(await new Response(zip).arrayBuffer()));
      return archive.readAsText('result').trim().split(',');
    },

    /** Until the container of this attempt runs. */
    async untilAttempt(uid: string, number: number): Promise<void> {
      const isThere = () =>
        runs().some(
          ({ labels, endedAtMs }) =>
            labels[taskLabel] === uid &&
            labels['inference-server.attempt'] === `${number}` &&
            endedAtMs === Infinity,
        );
      expect(await waitUntil(() => Promise.resolve(isThere()), { timeoutMs: 30_000 })).toBe(true);
    },

    /** The first device of the run of a task that runs. */
    async deviceOf(uid: string): Promise<string> {
      const { id } = await runOf(uid);
      const call = (await gpus.calls()).find(({ container }) => container === id);
      if (call?.devices[0] === undefined) throw new Error(`${uid} runs without a device`);
      return call.devices[0];
    },

    /** The number of its main process. */
    async processOf(uid: string): Promise<number> {
      const found = await engine.api.call('GET', `/containers/${(await runOf(uid)).id}/json`);
      return (found as { State: { Pid: number } }).State.Pid;
    },

    /** Makes a file in the container of a task that runs. */
    async touch(uid: string, path: string): Promise<void> {
      const exec = `/containers/${(await runOf(uid)).id}/exec`;
      const { Id } = (await engine.api.call('POST', exec, { Cmd: ['touch', path] })) as {
        Id: string;
      };
      await engine.api.call('POST', `/exec/${Id}/start`, { Detach: false });
    },

    async untilState(device: string, state: string, reason = ''): Promise<void> {
      let found: ConsumerDetails | undefined;
      const is = async () => {
        found = (await consumers()).find(({ id }) => id === consumerOf[device]);
        return found?.state === state && (found.reason ?? '').includes(reason);
      };
      if (await waitUntil(is, { timeoutMs: 30_000 })) return;
      throw new Error(`${device} is ${found?.state}: ${found?.reason}`);
    },

    /** Held against what the hook was called with and when the engine started and ended it, not our own books. */
    async expectNothingOvercommitted(
      modelOf: ReadonlyMap<string, ModelName>,
      message = '',
    ): Promise<void> {
      const devicesOf = new Map((await gpus.calls()).map((call) => [call.container, call.devices]));
      const needsOf = (run: ContainerRun): Partial<ModelRegistration> =>
        models[modelOf.get(run.labels[taskLabel] ?? '') ?? 'cpu'];
      const all = runs().filter(({ labels }) => modelOf.has(labels[taskLabel] ?? ''));
      expect(all.length, message).toBe(modelOf.size);
      const onGpu = all.filter((run) => needsOf(run).use_gpu);
      expect(
        onGpu.every(({ id }) => devicesOf.has(id)),
        message,
      ).toBe(true);
      const shares = new Map(
        (await consumers()).map(({ device, share }) => [device?.uuid ?? 'cpu', share]),
      );
      const onCpu = all.filter((run) => needsOf(run).use_gpu !== true);
      await expectWithin(shares.get('cpu')!, onCpu, () => 1, message);
      for (const [uuid, memoryMib] of memoryOf) {
        const onIt = all.filter(({ id }) => devicesOf.get(id)?.includes(uuid));
        const countOf = (run: ContainerRun) => needsOf(run).gpu_count ?? 1;
        await expectWithin(shares.get(uuid)!, onIt, countOf, `${message} ${uuid}`);
        for (const run of onIt) {
          const words = onIt
            .filter((other) => isAt(other, run))
            .map((other) => needsOf(other).gpu_memory_mib ?? Infinity);
          const fits = words.length === 1 || words.reduce((sum, mib) => sum + mib) <= memoryMib;
          expect(fits, `${message} ${uuid}: ${words.join()}`).toBe(true);
        }
      }
    },
  };

  function start(
    settings: Record<string, string> = {},
    ready = async () => {
      const all = (await consumers()).filter(({ state }) => state === 'ready');
      return all.length === 5;
    },
  ): Promise<TestApp> {
    return startApp({
      app: 'job-consumer',
      settings: {
        ...server.consumerSettings,
        CONSUMER_TOKEN: consumerToken(server.token, 'lab'),
        ...{ GPUS: 'auto', GPU_RESERVE_MIB: String(reserveMib) },
        ...{ CPU_SLOTS: '2', CONTAINER_MEMORY_MIB: '', SWEEP_INTERVAL_S: '2' },
        ...{ QUARANTINE_S: '1', GPU_CHECK_S: '1', GPU_CHECK_INSIDE: 'always' },
        PATH: `${gpus.path}:/usr/bin:/bin`,
        ...settings,
      },
      ready,
    });
  }

  async function consumers(): Promise<ConsumerDetails[]> {
    const answer = await fetch(`${server.privateApiUrl}/api/consumers/`, {
      headers: { authorization: `Bearer ${server.token}` },
    });
    return (await answer.json()) as ConsumerDetails[];
  }

  /** The last, or the one that is told of within some seconds. */
  async function runOf(uid: string): Promise<ContainerRun> {
    const find = () => runs().findLast(({ labels }) => labels[taskLabel] === uid);
    await waitUntil(() => Promise.resolve(find() !== undefined), { timeoutMs: 5_000 });
    const found = find();
    if (found === undefined) throw new Error(`${uid} has not run`);
    return found;
  }
}

/** By what the engine keeps for each container, which may be of several consumers: a core too many would be another's. */
async function expectWithin(
  share: ConsumerDetails['share'],
  runs: readonly ContainerRun[],
  countOf: (run: ContainerRun) => number,
  message: string,
): Promise<void> {
  const limits = new Map(
    await Promise.all(runs.map(async (run) => [run, await run.limits] as const)),
  );
  // Those that were gone by the time that the engine was asked are few, and short.
  const known = runs.filter((run) => limits.get(run) !== undefined);
  expect(known.length, message).toBeGreaterThanOrEqual(runs.length * 0.9);
  for (const run of known) {
    const beside = known.filter((other) => isAt(other, run));
    const sumOf = (amount: 'cpusAtLeast' | 'memoryBytes') =>
      beside.reduce((sum, other) => sum + limits.get(other)![amount] / countOf(other), 0);
    // The engine keeps 1024ths of a core.
    expect(sumOf('cpusAtLeast'), `${message} cores`).toBeLessThanOrEqual(share.cpus + 0.02);
    expect(sumOf('memoryBytes'), `${message} memory`).toBeLessThanOrEqual(
      (share.memory_mib + 1) * 1024 ** 2,
    );
  }
}

const taskLabel = 'inference-server.task';

/** Whether it ran when `run` was started. */
function isAt(other: ContainerRun, run: ContainerRun): boolean {
  return other.startedAtMs <= run.startedAtMs && run.startedAtMs < other.endedAtMs;
}
