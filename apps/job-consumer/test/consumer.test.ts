import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inject } from 'vitest';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDockerEngine } from '@inference-server/container-engine';
import { startDockerEngine } from '@inference-server/local-services';
import { createLogger } from '@inference-server/service-kit';
import { createTicketSender, type TicketSender } from '@inference-server/task-queue';
import {
  createEngineApi,
  testEngine,
  testFolder,
  testRedis,
  whenFileEnds,
  type TestEngine,
  type TestRedis,
} from '@inference-server/testing';
import { startConsumer, type Consumer } from '../src/consumer.js';
import { createNames } from '../src/names.js';
import { createStorageWatch } from '../src/storage-watch.js';
import { copyImage, makeScriptImage } from './images.js';
import { startTestPrivateApi, type TestPrivateApi, type TestTask } from './test-private-api.js';
import { readZip, scriptZip } from './zips.js';

const never = new AbortController().signal;
const logger = createLogger('test', 'silent');

let own: TestEngine;
let redis: TestRedis;
let api: TestPrivateApi;
let tickets: TicketSender;
let image: string;
let count = 0;
let open: Consumer[] = [];

beforeAll(async () => {
  own = await testEngine();
  redis = await testRedis();
  api = await startTestPrivateApi(own.installationId);
  image = await makeScriptImage(own.api, own.image, 'consumer-test:1');
  tickets = createTicketSender({ redisUrl: redis.url, prefix: redis.prefix, logger });
  whenFileEnds('ticket sender', () => tickets.close());
});

afterEach(async () => {
  api.away = false;
  await Promise.all(open.map((consumer) => consumer.close()));
  open = [];
});

describe('a consumer', () => {
  it('registers, takes tickets, and runs as many side by side as it has slots', async () => {
    const { id } = await start({ slots: 2 });
    expect(registrationsOf(id)[0]).toMatchObject({ slots: 2, state: 'ready', gpu_uuid: null });
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
    await send(id, [task]);
    await expect.poll(() => task.claims, { timeout: 5_000 }).toBe(2);
    await task.settled;
    await closeAll();
    expect(task.settlements).toHaveLength(1);
  });

  it('gives back what runs when it is closed, and signs off', async () => {
    const { id } = await start();
    const task = addTask('sleep 100');
    await send(id, [task]);
    await untilContainer(id, task);
    await closeAll();
    expect(task.settlements).toMatchObject([{ kind: 'released' }]);
    expect(api.signedOff).toContain(id);
    expect(await tracesOf()).toEqual([]);
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
    const ofNext = `consumer-${count + 1}`;
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
    expect(id).toBe(`consumer-${count}`);
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
  });
});

describe('a consumer whose device fails', () => {
  it('goes into quarantine after three faults, says why, and comes back when a probe passes', async () => {
    const dataDir = await testFolder();
    const hooks = await testFolder();
    // In place of the vendor's: the engine calls it for every container that is to have a device.
    const hook = join(hooks, 'nvidia-container-runtime-hook');
    await writeFile(hook, deviceHook(hooks), { mode: 0o755 });
    const environment = inject('environment');
    const engine = await startDockerEngine({
      dataDir,
      logFile: join(dataDir, 'engine.log'),
      environment: { ...environment, PATH: `${hooks}:${environment['PATH']}` },
      signal: AbortSignal.timeout(60_000),
    });
    whenFileEnds('own engine', () => engine.stop());
    const theirs = createEngineApi(engine.url);
    await copyImage(image, own.dockerHost, theirs);
    const { id } = await start({ dockerHost: engine.url, gpu: 'GPU-6f1c2a3b' });
    const stateNow = () => registrationsOf(id).at(-1);

    await writeFile(join(hooks, 'broken'), '');
    for (let fault = 1; fault <= 3; fault += 1) {
      expect(stateNow()?.state).toBe('ready');
      const task = addTask('true');
      await send(id, [task]);
      expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'device_lost' });
    }
    await expect.poll(() => stateNow()?.state, { timeout: 10_000 }).toBe('quarantined');
    expect(stateNow()?.reason).toContain('no such device');
    const next = addTask('true');
    await send(id, [next]);
    // Two probes and more.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(next.holder).toBeUndefined();
    expect(stateNow()?.state).toBe('quarantined');
    await rm(join(hooks, 'broken'));
    expect(await next.settled).toMatchObject({ kind: 'finished' });
    expect(stateNow()).toMatchObject({ state: 'ready', reason: null });
    await closeAll();
    expect(await theirs.listObjects()).toEqual([]);
  });
});

function deviceHook(folder: string): string {
  return `#!/bin/sh
[ -e ${folder}/broken ] && { echo "no such device" >&2; exit 1; }
cat > /dev/null
`;
}

async function start(
  options: {
    id?: string;
    slots?: number;
    dockerHost?: string;
    gpu?: string;
    handsOver?: boolean;
    starting?: AbortSignal;
  } = {},
): Promise<{ id: string }> {
  const id = options.id ?? `consumer-${(count += 1)}`;
  const engine = createDockerEngine({ dockerHost: options.dockerHost ?? own.dockerHost });
  const consumer = await startConsumer(
    {
      identity: {
        id,
        token: 'none',
        slots: options.slots ?? 1,
        gpu: options.gpu ?? null,
        limits: {
          memoryBytes: 64 * 1024 ** 2,
          cpus: 1,
          processes: 100,
          shmBytes: 1024 ** 2,
          logBytes: 1024 ** 2,
          fileBytes: 1024 ** 3,
        },
      },
      engine,
      storageWatch: createStorageWatch({ engine, logger }),
      privateApiUrl: api.url,
      redisUrl: redis.url,
      queuePrefix: redis.prefix,
      workDir: await testFolder(),
      version: 'test',
      settings: {
        imageRetryMs: 2_000,
        containerGraceMs: 500,
        maxOutputBytes: 1024 ** 3,
        maxScratchBytes: 1024 ** 3,
        maxOutputEntries: 1000,
        logTailBytes: 10_000,
        handsOver: options.handsOver ?? false,
      },
      predecessorMs: 1_000,
      quarantine: { after: 3, pauseMs: 300 },
      modelVolumes: { maxAgeMs: 3_600_000, maxBytes: 0 },
      sweepIntervalMs: 300,
      stopGraceMs: 20_000,
      logger,
    },
    options.starting ?? never,
  );
  open.push(consumer);
  return { id };
}

async function closeAll(): Promise<void> {
  await Promise.all(open.splice(0).map((consumer) => consumer.close()));
}

function addTask(script: string): TestTask {
  return api.addTask({ work: { container_tag: image }, input: scriptZip(script) });
}

async function send(id: string, tasks: readonly TestTask[]): Promise<void> {
  const sent = tasks.map(({ uid, attempt }) => ({ taskUid: uid, attempt }));
  await expect
    .poll(() => tickets.send(id, sent).then(() => 'sent', String), { timeout: 10_000 })
    .toBe('sent');
}

function registrationsOf(id: string) {
  return api.registrations.filter((registration) => registration.id === id);
}

async function untilContainer(id: string, task: TestTask, engine = own.api): Promise<void> {
  const name = runOf(id, task);
  const isRunning = async () => {
    const found = (await engine.call('GET', `/containers/${name}/json`).catch(() => undefined)) as
      { State: { Running: boolean } } | undefined;
    return found?.State.Running;
  };
  await expect.poll(isRunning, { timeout: 10_000 }).toBe(true);
}

function runOf(id: string, task: TestTask): string {
  return createNames(own.installationId, id).attempt(task.uid, task.attempt).name('run');
}

async function tracesOf(installation = own.installationId): Promise<string[]> {
  const objects = await own.api.listObjects();
  return objects
    .filter(({ labels }) => Object.values(labels).includes(installation))
    .map(({ kind, name }) => `${kind} ${name}`)
    .sort();
}
