import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import { createNames } from '../src/names.js';
import { openConsumerScene, type ConsumerScene } from './consumer-scene.js';
import type { TestTask } from './test-private-api.js';

let scene: ConsumerScene;
beforeAll(async () => {
  scene = await openConsumerScene();
});
afterEach(async () => {
  scene.api.away = false;
  scene.api.claimAnswerMs = 0;
  scene.api.replacedConsumers.clear();
  await scene.closeAll();
});

describe('a consumer that cannot take up what was left behind', () => {
  it('says so, takes nothing, and tries again', async () => {
    let isBroken = true;
    const { id } = await scene.start({
      wrap: (engine) => ({
        ...engine,
        listVolumes: (...args) => {
          if (isBroken) throw new EngineError('failed', 'no volumes today');
          return engine.listVolumes(...args);
        },
      }),
    });
    await expect.poll(() => lastOf(id)?.reason).toContain('no volumes today');
    expect(lastOf(id)?.state).toBe('reconciling');
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    await expect
      .poll(() => scene.registrationsOf(id).length, { timeout: 10_000 })
      .toBeGreaterThan(5);
    expect(task.claims).toBe(0);
    isBroken = false;
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    expect(lastOf(id)).toMatchObject({ state: 'ready', reason: null });
  });

  it('goes on when only the engine does not remove something, and tries again', async () => {
    const left = await leave(scene.nextId(), scene.addTask('true'));
    let isBroken = true;
    const { id } = await scene.start({
      wrap: (engine) => ({
        ...engine,
        removeContainer: async (container, signal) => {
          if (isBroken && container === left.id) throw new EngineError('failed', 'busy');
          return engine.removeContainer(container, signal);
        },
      }),
    });
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    await expect.poll(() => task.settlements, { timeout: 10_000 }).toHaveLength(1);
    expect(await scene.tracesOf()).toContain(`container ${left.name}`);
    isBroken = false;
    await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  });

  it('goes on when private-api fails on one attempt, whose container stays until it does not', async () => {
    const poor = scene.addTask('true');
    poor.holder = 'predecessor';
    poor.refuseAdoption = new AppError('INTERNAL', 'a fault of its own');
    const left = await leave(scene.nextId(), poor);
    const { id } = await scene.start();
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    await expect.poll(() => task.settlements, { timeout: 10_000 }).toHaveLength(1);
    expect(await scene.tracesOf()).toContain(`container ${left.name}`);
    delete poor.refuseAdoption;
    expect(await poor.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
    await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  });
});

it('a consumer removes from time to time what it has lost sight of', async () => {
  const { id } = await scene.start();
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  await leave(id, scene.addTask('true'));
  await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
});

it('a consumer takes nothing while its engine is away', async () => {
  let isAway = false;
  const { id } = await scene.start({
    wrap: (engine) => ({
      ...engine,
      ping: async (signal) => {
        if (isAway) throw new EngineError('unreachable', 'ECONNRESET');
        return engine.ping(signal);
      },
    }),
  });
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  isAway = true;
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('engine_away');
  const task = scene.addTask('true');
  await scene.send(id, [task]);
  const heartbeats = scene.registrationsOf(id).length;
  await expect
    .poll(() => scene.registrationsOf(id).length, { timeout: 10_000 })
    .toBeGreaterThan(heartbeats + 3);
  expect(task.claims).toBe(0);
  isAway = false;
  expect(await task.settled).toMatchObject({ kind: 'finished' });
});

it('an attempt that is claimed while the engine is away for a moment runs once', async () => {
  scene.api.claimAnswerMs = 2_000;
  let isAway = false;
  const { id } = await scene.start({
    slots: 2,
    wrap: (engine) => ({
      ...engine,
      ping: async (signal) => {
        if (isAway) throw new EngineError('unreachable', 'ECONNRESET');
        return engine.ping(signal);
      },
    }),
  });
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  const task = scene.addTask('sleep 1; echo fine > /output/a');
  await scene.send(id, [task]);
  await expect.poll(() => task.claims, { timeout: 5_000 }).toBe(1);
  isAway = true;
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('engine_away');
  isAway = false;
  await task.settled;
  await scene.closeAll();
  expect(task).toMatchObject({ claims: 1, settlements: [{ kind: 'finished' }], epoch: 1 });
});

it('a consumer that was replaced, and has not heard of it, touches nothing', async () => {
  const { id } = await scene.start();
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  scene.api.replacedConsumers.add(id);
  const ofSuccessor = scene.addTask('sleep 100');
  ofSuccessor.holder = 'successor';
  const over = scene.addTask('true');
  const left = [await leave(id, ofSuccessor), await leave(id, over)];
  await expect.poll(() => lastOf(id)?.reason, { timeout: 10_000 }).toContain('Another process');
  expect(lastOf(id)?.state).toBe('reconciling');
  const names = left.map(({ name }) => `container ${name}`).sort();
  expect(await scene.tracesOf()).toEqual(names);
  for (const { name } of left) await scene.own.api.call('DELETE', `/containers/${name}`);
});

function lastOf(id: string) {
  return scene.registrationsOf(id).at(-1);
}

/** A container of an attempt that was never started. */
async function leave(consumerId: string, task: TestTask): Promise<{ id: string; name: string }> {
  const names = createNames(scene.own.installationId, consumerId).attempt(task.uid, task.attempt);
  const name = names.name('run');
  const { Id: id } = (await scene.own.api.call('POST', `/containers/create?name=${name}`, {
    Image: scene.own.image,
    Labels: names.labels('run'),
  })) as { Id: string };
  return { id, name };
}
