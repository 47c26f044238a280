import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ContainerEngine, ContainerSpec } from '@inference-server/container-engine';
import { waitUntil } from '@inference-server/testing';
import { claimAttempt } from '../../src/run/claim.js';
import { keepLease } from '../../src/run/lease.js';
import { openAttemptScene, type AttemptScene } from '../attempt-scene.js';
import type { TestTask } from '../test-private-api.js';
import { scriptZip } from '../zips.js';

/** What becomes of an attempt whose process stood still while it staged it. */

const never = new AbortController().signal;

let scene: AttemptScene;
let engine: ContainerEngine;
let starts: string[];
let filled: number;

beforeAll(async () => {
  scene = await openAttemptScene();
  engine = scene.bench.engine;
});
afterEach(() => {
  scene.bench.deps.engine = engine;
});
afterAll(() => scene.close());

describe('an attempt that another has adopted while it was staged', () => {
  it('is not started, and its containers are removed', async () => {
    const task = scene.taskOf(scriptZip('sleep 30'));
    whenCreating('-run', async (create) => {
      const container = await create();
      // All is staged then: only the start is to come.
      await expect.poll(() => filled, { timeout: 5_000 }).toBe(1);
      await adoptElsewhere(task);
      return container;
    });
    const running = await scene.bench.start(task);
    expect(await running.cleaned).toBe(true);
    expect(task.settlements).toEqual([]);
    expect(starts).toEqual([]);
    expect((await leftOf(task)).filter(({ kind }) => kind === 'container')).toEqual([]);
    await scene.removeAll(task);
  });

  it('leaves no volume that the engine has made anew, which nobody would find', async () => {
    const task = scene.taskOf(scriptZip('sleep 30'));
    whenCreating('-run', async (create) => {
      // As the other does when it has settled.
      await scene.removeAll(task);
      const container = await create();
      await adoptElsewhere(task);
      return container;
    });
    const running = await scene.bench.start(task);
    expect(await running.cleaned).toBe(true);
    expect(task.settlements).toEqual([]);
    expect(starts).toEqual([]);
    expect(await leftOf(task)).toEqual([]);
  });
});

it('an attempt whose volumes were removed before their use begins again', async () => {
  const task = scene.taskOf(scriptZip('echo fine > /output/a'));
  let isFirst = true;
  whenCreating('-stage', async (create) => {
    if (isFirst) await scene.removeAll(task);
    isFirst = false;
    return create();
  });
  const running = await scene.bench.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  await running.cleaned;
  expect(await leftOf(task)).toEqual([]);
});

it('an attempt whose process stood still is judged by when it ended', async () => {
  const task = scene.taskOf(scriptZip('sleep 1; echo fine > /output/a'), { timeoutS: 3 });
  const running = await scene.bench.start(task);
  await scene.untilRunning(task);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_000);
  expect(await task.settled).toMatchObject({ kind: 'finished', exit_code: 0 });
  await running.cleaned;
});

describe('a lease', () => {
  it('counts from when the claim was asked', async () => {
    const { api: client, logger } = scene.bench.deps;
    const task = scene.taskOf(scriptZip('true'));
    scene.api.claimAnswerMs = 1_000;
    const asked = performance.now();
    const ticket = { taskUid: task.uid, attempt: task.attempt };
    const claim = await claimAttempt({ api: client, logger }, ticket, 'consumer-a', never);
    scene.api.claimAnswerMs = 0;
    expect(claim!.askedAt - asked).toBeLessThan(500);
  });

  it('is confirmed when that was long ago', async () => {
    const { api: client, logger } = scene.bench.deps;
    const task = scene.taskOf(scriptZip('true'));
    const held = { taskUid: task.uid, attempt: task.attempt, epoch: 1, holder: 'consumer-a' };
    const news = { onRefused: () => undefined, onCancel: () => undefined, readPeakMib: () => null };
    scene.api.away = true;
    const lease = keepLease(
      { api: client, logger },
      { held, askedAt: performance.now() - 20_000, leaseMs: task.leaseMs },
      news,
    );
    const confirmed = lease.confirm(never).then(() => 'confirmed');
    expect(await Promise.race([confirmed, sleep(1_000)])).toBeUndefined();
    scene.api.away = false;
    expect(await confirmed).toBe('confirmed');
    await lease.stop();
  });

  it('is asked for again before it is over when a renewal is not answered', async () => {
    const { api: client, logger } = scene.bench.deps;
    const task = scene.taskOf(scriptZip('true'));
    task.leaseMs = 4_000;
    const held = { taskUid: task.uid, attempt: task.attempt, epoch: 1, holder: 'consumer-a' };
    const news = { onRefused: () => undefined, onCancel: () => undefined, readPeakMib: () => null };
    const claim = { held, askedAt: performance.now(), leaseMs: task.leaseMs };
    const lease = keepLease({ api: client, logger }, claim, news);
    expect(await waitUntil(() => task.renewals === 2, { timeoutMs: 10_000 })).toBe(true);
    task.renewalsHang = true;
    const before = task.renewals;
    const isAskedAgain = () => task.renewals >= before + 2;
    expect(await waitUntil(isAskedAgain, { timeoutMs: 8_000 })).toBe(true);
    task.renewalsHang = false;
    await lease.stop();
  });
});

/** Has the creation of the containers of such a name done by `how`; starts and fills are noted. */
function whenCreating(
  suffix: string,
  how: (create: () => Promise<string>) => Promise<string>,
): void {
  starts = [];
  filled = 0;
  scene.bench.deps.engine = {
    ...engine,
    createContainer: (spec: ContainerSpec, bounds) => {
      const create = () => engine.createContainer(spec, bounds);
      return spec.name.endsWith(suffix) ? how(create) : create();
    },
    putArchive: async (...args) => {
      await engine.putArchive(...args);
      filled += 1;
    },
    startContainer: (container, bounds) => {
      starts.push(container);
      return engine.startContainer(container, bounds);
    },
  };
}

/** Resolves once the holder has been told. */
async function adoptElsewhere(task: TestTask): Promise<void> {
  task.epoch += 1;
  await expect.poll(() => task.refusedRenewals, { timeout: 5_000 }).toBeGreaterThan(0);
}

/** By name: also what carries no labels. */
async function leftOf({ uid }: TestTask) {
  return (await scene.own.api.listObjects()).filter(({ name }) => name.includes(uid));
}
