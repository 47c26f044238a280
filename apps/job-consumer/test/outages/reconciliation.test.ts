import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import { createNames, labelNames } from '../../src/names.js';
import { openConsumerScene, type ConsumerScene } from '../consumer-scene.js';
import { makeScriptImage } from '../images.js';
import { scriptZip } from '../zips.js';

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
    const left = await scene.leave(scene.nextId(), scene.addTask('true'));
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
    const left = await scene.leave(scene.nextId(), poor);
    const { id } = await scene.start();
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    await expect.poll(() => task.settlements, { timeout: 10_000 }).toHaveLength(1);
    expect(await scene.tracesOf()).toContain(`container ${left.name}`);
    delete poor.refuseAdoption;
    expect(await poor.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
    await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  });

  it('adopts what it can while private-api cannot lend one attempt', async () => {
    const poor = scene.addTask('true');
    poor.holder = 'predecessor';
    poor.refuseAdoption = new AppError('SERVICE_UNAVAILABLE', 'this row is locked');
    const good = scene.addTask('true');
    good.holder = 'predecessor';
    const { id } = await scene.start();
    expect(await good.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
    delete poor.refuseAdoption;
    expect(await poor.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
  });

  it.each(['INTERNAL', 'SERVICE_UNAVAILABLE'] as const)(
    'leaves the slot to a container that it could not adopt: %s',
    async (code) => {
      const poor = scene.addTask('true');
      poor.holder = 'predecessor';
      poor.refuseAdoption = new AppError(code, 'not now');
      const left = await scene.leave(scene.nextId(), poor);
      await scene.own.api.call('POST', `/containers/${left.id}/start`);
      const { id } = await scene.start({ slots: 1 });
      await expect
        .poll(() => lastOf(id), { timeout: 10_000 })
        .toMatchObject({ state: 'reconciling', reason: expect.stringMatching(/all of its slots/) });
      const task = scene.addTask('true');
      await scene.send(id, [task]);
      // For a look and more.
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(task).toMatchObject({ holder: undefined, settlements: [] });
      expect(lastOf(id)?.state).toBe('reconciling');
      delete poor.refuseAdoption;
      expect(await task.settled).toMatchObject({ kind: 'finished' });
      await expect.poll(() => lastOf(id), { timeout: 10_000 }).toMatchObject({ state: 'ready' });
      expect(await scene.tracesOf()).not.toContain(`container ${left.name}`);
    },
  );

  it('is at work with the slots that are left, and offers no others', async () => {
    const others = [1, 2].map(() => scene.addTask('true'));
    for (const one of others) {
      one.holder = 'predecessor';
      one.refuseAdoption = new AppError('INTERNAL', 'not now');
    }
    const first = await scene.leave(scene.nextId(), others[0]!);
    const second = await scene.leave(scene.nextId(), others[1]!);
    await scene.own.api.call('POST', `/containers/${first.id}/start`);
    const { id } = await scene.start({ slots: 3 });
    const last = () => expect.poll(() => lastOf(id), { timeout: 10_000 });
    await last().toMatchObject({ state: 'ready', slots: 2 });
    await scene.own.api.call('POST', `/containers/${second.id}/start`);
    // One of the two would wait for as long as the others last.
    // Its share is that of the slot.
    await last().toMatchObject({
      state: 'ready',
      slots: 1,
      share: { cpus: 1, memory_mib: 341 },
    });
    await scene.own.api.call('POST', `/containers/${first.id}/kill`);
    await last().toMatchObject({ state: 'ready', slots: 2 });
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    for (const one of others) delete one.refuseAdoption;
    await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  });

  it('is ready though one attempt cannot be lent, and nothing else is to be asked for', async () => {
    const poor = scene.addTask('true');
    poor.holder = 'predecessor';
    poor.refuseAdoption = new AppError('SERVICE_UNAVAILABLE', 'this row is locked');
    const { id } = await scene.start();
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
    delete poor.refuseAdoption;
    expect(await poor.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
  });

  it('goes on when the engine cannot tell of one volume whether it is complete', async () => {
    const names = createNames(scene.own.installationId, scene.nextId());
    const { marker, data } = names.model('version-x');
    const volume = data('half');
    const ofDead = names.attempt('d'.repeat(43), 1).labels('model-data');
    const labels = { ...ofDead, [labelNames.modelVersion]: 'version-x' };
    await scene.own.api.call('POST', '/volumes/create', { Name: volume, Labels: labels });
    let isBroken = true;
    const { id } = await scene.start({
      wrap: (engine) => ({
        ...engine,
        inspectVolume: async (name, signal) => {
          if (isBroken && name === marker) throw new EngineError('failed', 'input/output error');
          return engine.inspectVolume(name, signal);
        },
      }),
    });
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
    expect(await scene.tracesOf()).toContain(`volume ${volume}`);
    isBroken = false;
    await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  });

  it('is ready while the removal of a leftover hangs', async () => {
    const left = await scene.leave(scene.nextId(), scene.addTask('true'));
    let isBroken = true;
    const { id } = await scene.start({
      wrap: (engine) => ({
        ...engine,
        removeContainer: async (container, signal) => {
          if (!isBroken || container !== left.id) return engine.removeContainer(container, signal);
          // As long as another's removal of it is under way.
          await new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => {
              reject(signal.reason as Error);
            });
          });
        },
      }),
    });
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
    expect(await scene.tracesOf()).toContain(`container ${left.name}`);
    isBroken = false;
    await expect.poll(() => scene.tracesOf(), { timeout: 25_000 }).toEqual([]);
  }, 40_000);

  it('is back as soon as private-api is, however long that was away', async () => {
    const absence = { isAway: false };
    const { id } = await scene.start({ sweepIntervalMs: 60_000, wrap: awayDuring(absence) });
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
    absence.isAway = true;
    await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('engine_away');
    scene.api.away = true;
    absence.isAway = false;
    // Passes fail after 0, 1, 3 and 7 s.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    scene.api.away = false;
    await expect.poll(() => lastOf(id)?.state, { timeout: 2_500 }).toBe('ready');
  }, 40_000);
});

it('a consumer that is at work stays so when a look from time to time fails', async () => {
  let failed = 0;
  let isBroken = false;
  const { id } = await scene.start({
    wrap: (engine) => ({
      ...engine,
      listVolumes: (...args) => {
        if (!isBroken) return engine.listVolumes(...args);
        failed += 1;
        throw new EngineError('failed', 'no volumes today');
      },
    }),
  });
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
  isBroken = true;
  // Of both the sweeps and the passes.
  await expect.poll(() => failed, { timeout: 10_000 }).toBeGreaterThan(5);
  const task = scene.addTask('true');
  await scene.send(id, [task]);
  await expect.poll(() => task.claims, { timeout: 10_000 }).toBe(1);
  isBroken = false;
  await task.settled;
  const states = scene.registrationsOf(id).map(({ state }) => state);
  expect(states.slice(states.indexOf('ready'))).not.toContain('reconciling');
});

it('a consumer that stops while it adopts an attempt leaves it parked', async () => {
  const task = scene.addTask('true');
  task.holder = 'predecessor';
  task.parked = true;
  const left = await scene.leave(scene.nextId(), task);
  await scene.own.api.call('POST', `/containers/${left.id}/start`);
  let isAsked = false;
  await scene.start({
    handsOver: true,
    wrap: (engine) => ({
      ...engine,
      inspectContainer: async (name, signal) => {
        if (name === left.name) {
          isAsked = true;
          await new Promise((resolve) => setTimeout(resolve, 1_000));
          signal.throwIfAborted();
        }
        return engine.inspectContainer(name, signal);
      },
    }),
  });
  await expect.poll(() => isAsked, { timeout: 10_000 }).toBe(true);
  await scene.closeAll();
  expect(task).toMatchObject({ epoch: 2, parked: true, settlements: [] });
  scene.api.tasks.delete(task.uid);
  await scene.own.api.call('DELETE', `/containers/${left.id}?force=1`);
});

it('a claim whose answer is lost is held by somebody soon', async () => {
  const { id } = await scene.start({ sweepIntervalMs: 60_000 });
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
  scene.api.claimAnswerMs = 12_000;
  const task = scene.addTask('true');
  await scene.send(id, [task]);
  await expect.poll(() => task.settlements, { timeout: 20_000 }).toHaveLength(1);
  expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'consumer_restarted' });
}, 40_000);

it('a consumer removes a probe that was left, whenever it came to be', async () => {
  const { id } = await scene.start();
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('ready');
  const { name, labels } = createNames(scene.own.installationId, id).probe('late');
  await scene.own.api.call('POST', `/containers/create?name=${name}`, {
    Image: scene.own.image,
    Labels: labels,
  });
  await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
});

it('a consumer removes the probe of an attempt that it could not remove at once', async () => {
  const image = await makeScriptImage(scene.own.api, scene.own.image, 'reconciliation:poison', [
    'VOLUME /input/data',
  ]);
  const probes = new Set<string>();
  const volumes: string[] = [];
  let failed = 0;
  const { id } = await scene.start({
    wrap: (engine) => ({
      ...engine,
      createContainer: async (spec, signal) => {
        const made = await engine.createContainer(spec, signal);
        if (!spec.name.includes('-probe-')) return made;
        probes.add(made);
        volumes.push(...spec.mounts.map(({ volume }) => volume));
        return made;
      },
      removeContainer: async (container, signal) => {
        if (!probes.has(container) || failed > 0) return engine.removeContainer(container, signal);
        failed += 1;
        throw new EngineError('failed', 'busy');
      },
    }),
  });
  const task = scene.api.addTask({
    work: { container_tag: image, pull_policy: 'never' },
    input: scriptZip('true'),
  });
  await scene.send(id, [task]);
  expect(await task.settled).toMatchObject({ kind: 'failed', reason: 'start_failed' });
  await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
  expect(failed).toBe(1);
  // None of those that the image has brought along.
  const own = createNames(scene.own.installationId, id).attempt(task.uid, task.attempt);
  expect(new Set(volumes)).toEqual(new Set([own.name('input'), own.name('output')]));
});

it('a consumer removes from time to time what it has lost sight of', async () => {
  const { id } = await scene.start();
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  await scene.leave(id, scene.addTask('true'));
  await expect.poll(() => scene.tracesOf(), { timeout: 10_000 }).toEqual([]);
});

it('a consumer takes nothing while its engine is away', async () => {
  const absence = { isAway: false };
  const { id } = await scene.start({ wrap: awayDuring(absence) });
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  absence.isAway = true;
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('engine_away');
  const task = scene.addTask('true');
  await scene.send(id, [task]);
  const heartbeats = scene.registrationsOf(id).length;
  await expect
    .poll(() => scene.registrationsOf(id).length, { timeout: 10_000 })
    .toBeGreaterThan(heartbeats + 3);
  expect(task.claims).toBe(0);
  absence.isAway = false;
  expect(await task.settled).toMatchObject({ kind: 'finished' });
});

it('an attempt that is claimed while the engine is away for a moment runs once', async () => {
  scene.api.claimAnswerMs = 2_000;
  const absence = { isAway: false };
  const { id } = await scene.start({ slots: 2, wrap: awayDuring(absence) });
  await expect.poll(() => lastOf(id)?.state).toBe('ready');
  const task = scene.addTask('sleep 1; echo fine > /output/a');
  await scene.send(id, [task]);
  await expect.poll(() => task.claims, { timeout: 5_000 }).toBe(1);
  absence.isAway = true;
  await expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe('engine_away');
  absence.isAway = false;
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
  const left = [await scene.leave(id, ofSuccessor), await scene.leave(id, over)];
  // In two passes.
  await expect.poll(() => scene.api.adoptionsOfReplaced, { timeout: 10_000 }).toBeGreaterThan(2);
  const names = left.map(({ name }) => `container ${name}`).sort();
  expect(await scene.tracesOf()).toEqual(names);
  for (const { name } of left) await scene.own.api.call('DELETE', `/containers/${name}`);
});

function lastOf(id: string) {
  return scene.registrationsOf(id).at(-1);
}

/** An engine that is asked whether it is there, and says nothing while it is away. */
function awayDuring(absence: { isAway: boolean }) {
  return (engine: ContainerEngine): ContainerEngine => ({
    ...engine,
    ping: async (signal) => {
      if (absence.isAway) throw new EngineError('unreachable', 'ECONNRESET');
      return engine.ping(signal);
    },
  });
}

/** A container of an attempt that was never started. */
