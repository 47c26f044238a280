import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { inject } from 'vitest';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDockerEngine } from '@inference-server/local-services';
import { createEngineApi, testFolder, whenFileEnds } from '@inference-server/testing';
import { createNames } from '../src/names.js';
import { openConsumerScene, type ConsumerScene } from './consumer-scene.js';
import { copyImage } from './images.js';
import type { TestTask } from './test-private-api.js';
import { readZip } from './zips.js';

let own: ConsumerScene['own'];
let api: ConsumerScene['api'];
let image: string;
let nextId: ConsumerScene['nextId'];
let start: ConsumerScene['start'];
let closeAll: ConsumerScene['closeAll'];
let addTask: ConsumerScene['addTask'];
let send: ConsumerScene['send'];
let registrationsOf: ConsumerScene['registrationsOf'];
let untilContainer: ConsumerScene['untilContainer'];
let runOf: ConsumerScene['runOf'];
let tracesOf: ConsumerScene['tracesOf'];

beforeAll(async () => {
  const scene = await openConsumerScene();
  ({ own, api, image, nextId, start, closeAll, addTask, send } = scene);
  ({ registrationsOf, untilContainer, runOf, tracesOf } = scene);
});

afterEach(async () => {
  api.away = false;
  await closeAll();
});

describe('a consumer', () => {
  it('registers, takes tickets, and runs as many side by side as it has slots', async () => {
    const { id } = await start({ slots: 2 });
    expect(registrationsOf(id)[0]).toMatchObject({ slots: 2, device: null });
    await expect.poll(() => registrationsOf(id).at(-1)?.state).toBe('ready');
    const tasks = [1, 2, 3].map(() =>
      addTask('cat /proc/uptime > /output/from; sleep 1; cat /proc/uptime > /output/to'),
    );
    await send(id, tasks);
    const spans = await Promise.all(
      tasks.map(async (task) => {
        expect(await task.settled).toMatchObject({ kind: 'finished' });
        const { from, to } = readZip(task.outputs[0]!);
        return { from: parseFloat(from ?? ''), to: parseFloat(to ?? '') };
      }),
    );
    const starts = spans.map(({ from }) => from).sort((a, b) => a - b);
    const firstEnd = Math.min(...spans.map(({ to }) => to));
    expect(starts[1]).toBeLessThan(firstEnd);
    expect(starts[2]).toBeGreaterThan(firstEnd);
    await expect.poll(() => registrationsOf(id).length, { timeout: 5_000 }).toBeGreaterThan(2);
  });

  it('runs an attempt once, however often its ticket comes', async () => {
    const { id } = await start({ slots: 2 });
    const task = addTask('sleep 3; exit 1');
    await send(id, [task]);
    // As long as the ticket is in hand another is not even sent.
    await untilContainer(id, task);
    const behind = addTask('true');
    await send(id, [task, behind]);
    await behind.settled;
    await task.settled;
    await closeAll();
    expect(task).toMatchObject({ claims: 1, settlements: [{ kind: 'failed' }] });
  });

  it('gives back what runs when it is closed, and signs off', async () => {
    const { id } = await start();
    const task = addTask('sleep 100');
    await send(id, [task]);
    await untilContainer(id, task);
    await closeAll();
    expect(task.settlements).toMatchObject([{ kind: 'released' }]);
    // The other way round it could be given to this consumer again.
    expect(api.order.slice(-2)).toEqual([`signed off ${id}`, `released ${task.uid}`]);
    const { length } = registrationsOf(id);
    expect(await tracesOf()).toEqual([]);
    // For a heartbeat and more.
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(registrationsOf(id)).toHaveLength(length);
  });

  it('adopts what its predecessor left: what runs is waited for, what ended is collected', async () => {
    const { id } = await start({ handsOver: true, slots: 4 });
    const running = addTask(
      'trap "echo ran > /output/a; exit 0" USR1; while true; do sleep 0.1; done',
    );
    const ended = addTask('sleep 1; echo ended > /output/a');
    const never = addTask('sleep 100');
    await send(id, [running, ended]);
    await untilContainer(id, running);
    await untilContainer(id, ended);
    await closeAll();
    expect([running, ended]).toMatchObject([
      { parked: true, settlements: [] },
      { parked: true, settlements: [] },
    ]);
    // One more of which the predecessor had come no further than its claim, and one that it created.
    never.holder = 'predecessor';
    const created = addTask('sleep 100');
    created.holder = 'predecessor';
    const names = createNames(own.installationId, id).attempt(created.uid, created.attempt);
    await own.api.call('POST', `/containers/create?name=${names.name('run')}`, {
      Image: own.image,
      Labels: names.labels('run'),
    });
    const stateOf = async (task: TestTask) => {
      const { State } = (await own.api.call('GET', `/containers/${runOf(id, task)}/json`)) as {
        State: { Status: string };
      };
      return State.Status;
    };
    await expect.poll(() => stateOf(ended), { timeout: 10_000 }).toBe('exited');
    expect(await stateOf(running)).toBe('running');

    await start({ id, slots: 4 });
    const settles = (task: TestTask) => expect.poll(() => task.settlements, { timeout: 10_000 });
    await settles(ended).toMatchObject([{ kind: 'finished', exit_code: 0 }]);
    for (const task of [never, created]) {
      await settles(task).toMatchObject([{ kind: 'fault', cause: 'consumer_restarted' }]);
    }
    expect(await stateOf(running)).toBe('running');
    await own.api.call('POST', `/containers/${runOf(id, running)}/kill?signal=USR1`);
    await settles(running).toMatchObject([{ kind: 'finished', exit_code: 0 }]);
    expect(readZip(running.outputs[0] ?? Buffer.alloc(0))['a']).toBe('ran\n');
    expect([running.epoch, ended.epoch]).toEqual([2, 2]);
    await closeAll();
    expect(await tracesOf()).toEqual([]);
  });

  it('removes at its start what an earlier one of its name has left, and nothing else', async () => {
    const ofNext = nextId();
    const mine = createNames(own.installationId, ofNext).attempt('t'.repeat(43), 1);
    const others = createNames(own.installationId, 'another').attempt('o'.repeat(43), 1);
    const elsewhere = randomBytes(16).toString('hex');
    const foreign = createNames(elsewhere, ofNext).attempt('f'.repeat(43), 1);
    for (const names of [mine, others, foreign]) {
      await own.api.call('POST', '/volumes/create', {
        Name: names.name('input'),
        Labels: names.labels('input'),
      });
      await own.api.call('POST', `/containers/create?name=${names.name('run')}`, {
        Image: own.image,
        Labels: names.labels('run'),
      });
    }
    const { id } = await start();
    expect(id).toBe(ofNext);
    await expect
      .poll(() => tracesOf(), { timeout: 10_000 })
      .toEqual([`container ${others.name('run')}`, `volume ${others.name('input')}`]);
    expect(await tracesOf(elsewhere)).toEqual([
      `container ${foreign.name('run')}`,
      `volume ${foreign.name('input')}`,
    ]);
    for (const names of [others, foreign]) {
      await own.api.call('DELETE', `/containers/${names.name('run')}`);
      await own.api.call('DELETE', `/volumes/${names.name('input')}`);
    }
  });

  it('waits for private-api at its start, and outlives its absence', async () => {
    api.away = true;
    const starting = start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    api.away = false;
    const { id } = await starting;
    api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 700));
    api.away = false;
    const task = addTask('exit 0');
    await send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
  });

  it('lets nothing in while its device is said to be another’s, until it is registered again', async () => {
    const { id } = await start();
    await expect.poll(() => registrationsOf(id).at(-1)?.state).toBe('ready');
    api.takenDevices.set(id, 'The device is that of another consumer.');
    await expect.poll(() => api.refusedRegistrations, { timeout: 5_000 }).toBeGreaterThan(1);
    const task = addTask('exit 0');
    await send(id, [task]);
    const refused = api.refusedRegistrations;
    await expect
      .poll(() => api.refusedRegistrations, { timeout: 5_000 })
      .toBeGreaterThan(refused + 3);
    expect(task.claims).toBe(0);
    api.takenDevices.delete(id);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
  });

  it('ends its start when told to', async () => {
    api.away = true;
    const stop = new AbortController();
    const starting = start({ starting: stop.signal });
    setTimeout(() => stop.abort(new Error('stopped')), 300);
    await expect(starting).rejects.toThrow('stopped');
  });
});

describe('a consumer whose engine goes away', () => {
  it('says so, claims nothing, faults what ran, and goes on when it is back', async () => {
    const dataDir = await testFolder();
    const startEngine = () =>
      startDockerEngine({
        dataDir,
        logFile: join(dataDir, 'engine.log'),
        environment: inject('environment'),
        signal: AbortSignal.timeout(60_000),
      });
    const first = await startEngine();
    let engine = first;
    whenFileEnds('own engine', () => engine.stop());
    const { id } = await start({ dockerHost: engine.url });
    const theirs = createEngineApi(engine.url);
    await copyImage(image, own.dockerHost, theirs);
    const task = addTask('sleep 100');
    await send(id, [task]);
    await untilContainer(id, task, theirs);
    await engine.stop();
    expect(await task.settled).toMatchObject({ kind: 'fault' });
    await expect
      .poll(() => registrationsOf(id).at(-1)?.state, { timeout: 10_000 })
      .toBe('engine_away');
    const next = addTask('true');
    await send(id, [next]);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(next.holder).toBeUndefined();
    engine = await startEngine();
    expect(await next.settled).toMatchObject({ kind: 'finished' });
    expect(registrationsOf(id).at(-1)?.state).toBe('ready');
    // What the engine's end has left of the first is gone, too.
    await expect.poll(() => theirs.listObjects(), { timeout: 10_000 }).toEqual([]);
    // An engine may take half a minute to stop, and longer to start.
  }, 120_000);
});
