import { setTimeout as sleep } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import type { Logger } from '@inference-server/service-kit';
import { createGpuStandIn, needs, ownEngine, testFolder } from '@inference-server/testing';
import { createFleet } from '../../src/fleet.js';
import { openConsumerScene, type ConsumerScene, type StartOptions } from '../consumer-scene.js';
import { testDevice, testIdentity } from '../test-identity.js';

/** What becomes of runs, and of those that share their devices, when a device is lost. */

const never = new AbortController().signal;
const [first, second] = ['GPU-1', 'GPU-2'];
let scene: ConsumerScene;
/** The devices that the driver does not know any more. */
let lost: string[];
/** Whether no container with a model can be ended. */
let isStuck: boolean;
let count = 0;

beforeAll(async () => {
  const gpus = await createGpuStandIn(await testFolder(), []);
  const engine = await ownEngine({ gpus });
  scene = await openConsumerScene({ ...engine, installationId: randomUUID() });
}, 60_000);

afterEach(async () => {
  isStuck = false;
  await expect.poll(() => scene.tracesOf(), { timeout: 20_000 }).toEqual([]);
  await scene.closeAll();
});

it('keeps a device that was lent from all, while the container cannot be ended that has it', async () => {
  const [borrower, lender] = await startFleet();
  const task = await sendPair(borrower, lender);
  await scene.untilContainer(borrower, task);
  isStuck = true;
  lost = [first];
  expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'device_lost' });
  expect(task.settlements[0]?.detail).toContain('It could not be ended: did not receive an exit');
  for (const id of [borrower, lender]) {
    await expect.poll(() => lastOf(id)?.reason, { timeout: 30_000 }).toContain('in charge of');
    expect(lastOf(id)?.state).toBe('reconciling');
  }
  const waiting = scene.addTask('true', { needs: needs({ use_gpu: true }) });
  await scene.send(lender, [waiting]);
  expect(waiting.claims).toBe(0);
  isStuck = false;
  expect(await waiting.settled).toMatchObject({ kind: 'finished' });
}, 120_000);

it('gives back, and tells, what does not get the devices that private-api calls free', async () => {
  const warnings: object[] = [];
  const quiet = () => undefined;
  const warn = (about: object, msg: string) => void warnings.push({ ...about, msg });
  const logger = { ...{ debug: quiet, info: quiet, error: quiet, warn }, child: () => logger };
  const [borrower, lender, fleet] = await startFleet(
    { logger: logger as unknown as Logger },
    { takenWithinMs: 300 },
  );
  const giveBack = fleet.get(lender)!.keep();
  const task = await sendPair(borrower, lender);
  expect(await task.settled).toMatchObject({ kind: 'released' });
  const about = { taskUid: task.uid, attempt: 1, devices: [first, second] };
  expect(warnings).toEqual([{ ...about, msg: 'what a run was to have did not become free' }]);
  giveBack();
}, 60_000);

it('takes a run that ended well in the moment of the loss for finished', async () => {
  const { id, task } = await startAlone('until [ -e /tmp/end ]; do sleep 0.1; done', {
    // The news of its end comes when it is to be stopped.
    wrap: (engine) => {
      let stopped: () => void = () => undefined;
      const isStopped = new Promise<void>((resolve) => (stopped = resolve));
      return {
        ...engine,
        waitForExit: async (...args) => {
          await isStopped;
          return engine.waitForExit(...args);
        },
        stopContainer: async (...args) => {
          await engine.stopContainer(...args);
          stopped();
        },
      };
    },
  });
  const end = { timeoutMs: 5_000, maxBytes: 100 };
  const real = scene.engine;
  await real.runCommand(scene.runOf(id, task), ['touch', '/tmp/end'], end, never);
  const state = async () => (await real.inspectContainer(scene.runOf(id, task), never))?.state;
  await expect.poll(state, { timeout: 10_000 }).toBe('exited');
  lost = [first];
  expect(await task.settled).toMatchObject({ kind: 'finished', exit_code: 0 });
}, 60_000);

it('takes none for finished that ends with 0 because it was stopped', async () => {
  const script = 'trap "exit 0" TERM; while true; do sleep 0.1; done';
  const { task } = await startAlone(script, {
    wrap: (engine) => ({
      ...engine,
      // As of one that is quick to end.
      stopContainer: (container, _graceMs, signal) =>
        engine.stopContainer(container, 9_000, signal),
    }),
  });
  // Its trap is set.
  await sleep(1_000);
  lost = [first];
  const end = { kind: 'fault', cause: 'device_lost', exit_code: 0 };
  expect(await task.settled).toMatchObject(end);
}, 60_000);

it('judges what cannot be ended when its time is over by whether its device is there', async () => {
  const runOn = (gpu: string) =>
    startAlone('sleep 100', { gpu, gpuCheckMs: 60_000 }, { timeout_s: 2 });
  const { task: onLost } = await runOn(first);
  const { task: onOther } = await runOn(second);
  isStuck = true;
  lost = [first];
  expect(await onLost.settled).toMatchObject({
    ...{ kind: 'fault', cause: 'device_lost' },
    detail: expect.stringMatching(/^The device was lost: GPU-1 is gone\. The run took longer/),
  });
  expect(await onOther.settled).toMatchObject({ kind: 'fault', cause: 'engine_away' });
}, 90_000);

/** Of two devices, in one process. */
async function startFleet(
  options: StartOptions = {},
  fleetOptions: { takenWithinMs?: number } = {},
) {
  const ids = [first, second].map((uuid) => `lost-${(count += 1)}-${uuid}`);
  const share = { cpus: 1, memory_mib: 512, cpus_per_task: null, memory_per_task_mib: null };
  const fleet = createFleet(
    [first, second].map((uuid, at) =>
      testIdentity({ id: ids[at]!, slots: 2, device: testDevice(uuid), share }),
    ),
    fleetOptions,
  );
  for (const [id, member] of fleet) await start({ ...options, id, member });
  for (const id of ids) await untilReady(id);
  return [ids[0]!, ids[1]!, fleet] as const;
}

/** A consumer with one device, and a task that runs on it. */
async function startAlone(
  script: string,
  options: StartOptions = {},
  work: Parameters<ConsumerScene['addTask']>[1] = {},
) {
  const id = await start({ gpu: first, ...options });
  await untilReady(id);
  const task = scene.addTask(script, { needs: needs({ use_gpu: true }), ...work });
  await scene.send(id, [task]);
  await scene.untilContainer(id, task);
  return { id, task };
}

async function start({ wrap = (engine) => engine, ...options }: StartOptions): Promise<string> {
  lost = [];
  isStuck = false;
  const gone = async (devices: readonly string[]) =>
    devices.some((uuid) => lost.includes(uuid))
      ? { devices: lost, reason: `${lost.join()} is gone.`, areGone: true }
      : undefined;
  const { id } = await scene.start({
    gpuSource: { troubleWith: gone, periodicTroubleWith: gone },
    gpuCheckMs: 100,
    wrap: (engine) => unlessStuck(wrap(engine)),
    ...options,
  });
  return id;
}

/** As of a process that hangs in a call of its driver. */
function unlessStuck(engine: ContainerEngine): ContainerEngine {
  const runs = new Set<string>();
  const requireLoose = (container: string) => {
    if (isStuck && runs.has(container)) throw new EngineError('failed', 'did not receive an exit');
  };
  return {
    ...engine,
    createContainer: async (spec, signal) => {
      const id = await engine.createContainer(spec, signal);
      if (spec.name.endsWith('-run')) runs.add(id);
      return id;
    },
    stopContainer: async (container, ...rest) => {
      requireLoose(container);
      await engine.stopContainer(container, ...rest);
    },
    removeContainer: async (container, signal) => {
      requireLoose(container);
      await engine.removeContainer(container, signal);
    },
  };
}

async function sendPair(borrower: string, lender: string) {
  const wants = needs({ use_gpu: true, gpu_count: 2 });
  const task = scene.addTask('sleep 100', { needs: wants, lenders: [lender] });
  await scene.send(borrower, [task]);
  return task;
}

async function untilReady(id: string): Promise<void> {
  await expect.poll(() => lastOf(id)?.state, { timeout: 20_000 }).toBe('ready');
}

function lastOf(id: string) {
  return scene.registrationsOf(id).at(-1);
}
