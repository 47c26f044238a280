import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDockerEngine } from '@inference-server/container-engine';
import type { FaultCause } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { createLogger } from '@inference-server/service-kit';
import { createTicketSender, type TicketSender } from '@inference-server/task-queue';
import { testEngine, testRedis, whenFileEnds, type TestRedis } from '@inference-server/testing';
import type { Consumer } from '../../src/consumer.js';
import { createNames } from '../../src/names.js';
import { probeStart } from '../../src/probe.js';
import { startFailingEngine, type FailingEngine } from '../failing-engine.js';
import { copyImage, makeScriptImage } from '../images.js';
import { smallLimits } from '../small-limits.js';
import { startTestConsumer, type TestConsumerOptions } from '../test-consumer.js';
import { startTestPrivateApi, type TestPrivateApi, type TestTask } from '../test-private-api.js';
import { scriptZip } from '../zips.js';

const never = new AbortController().signal;
const gpu = 'GPU-6f1c2a3b';

let redis: TestRedis;
let api: TestPrivateApi;
let tickets: TicketSender;
let engine: FailingEngine;
let installationId: string;
const image = 'quarantine-test:1';
const otherImage = 'quarantine-test:other';
const poison = 'quarantine-test:poison';
let count = 0;
let open: Consumer[] = [];

beforeAll(async () => {
  const shared = await testEngine();
  installationId = shared.installationId;
  redis = await testRedis();
  api = await startTestPrivateApi(installationId);
  const logger = createLogger('test', 'silent');
  tickets = createTicketSender({ redisUrl: redis.url, prefix: redis.prefix, logger });
  whenFileEnds('ticket sender', () => tickets.close());
  engine = await startFailingEngine();
  const changes = { [image]: [], [otherImage]: ['ENV OTHER=1'], [poison]: ['VOLUME /input/data'] };
  for (const [tag, lines] of Object.entries(changes)) {
    await makeScriptImage(shared.api, shared.image, tag, lines);
    await copyImage(tag, shared.dockerHost, engine.api);
  }
});

afterEach(async () => {
  await engine.mend();
  await closeAll();
  expect(await engine.api.listObjects()).toEqual([]);
});

describe('a consumer that meets faults of its own', () => {
  it('is quarantined until its device has been tried', async () => {
    await engine.breakDevice();
    const id = await start({ gpu }, 'quarantined');
    await staysQuarantined(id);
    expect(statesOf(id)).not.toContain('ready');
    await engine.mend();
    await comesBack(id);
  });

  it('goes into quarantine after one of its device, says why, and comes back when a probe passes', async () => {
    const id = await start({ gpu });
    await engine.breakDevice();
    await meet(id, 'device_lost', 1);
    await untilState(id, 'quarantined');
    expect(lastOf(id)?.reason).toContain('no such device');
    await staysQuarantined(id);
    await engine.mend();
    await comesBack(id);
  });

  it('does for its engine, and comes back though its last image is gone', async () => {
    const id = await start();
    await engine.breakRuntime();
    await meet(id, 'engine_away', 2);
    await meet(id, 'engine_away', 1, otherImage);
    await untilState(id, 'quarantined');
    await engine.api.call('DELETE', `/images/${otherImage}?force=1`);
    await staysQuarantined(id);
    await engine.mend();
    await comesBack(id);
  });

  it('tells a broken engine from a broken device', async () => {
    const id = await start({ gpu });
    await engine.breakRuntime();
    await meet(id, 'engine_away', 1);
  });

  it('does for a full disk', async () => {
    const id = await start();
    await engine.fillDisk();
    await meet(id, 'disk_full', 3);
    await untilState(id, 'quarantined');
    await staysQuarantined(id);
    await engine.mend();
    await comesBack(id);
  });

  it('does for what it cannot explain', async () => {
    const id = await start();
    const names = createNames(installationId, id);
    for (let fault = 1; fault <= 3; fault += 1) {
      const task = addTask();
      const taken = names.attempt(task.uid, task.attempt).name('run');
      await engine.api.call('POST', `/containers/create?name=${taken}`, { Image: image });
      await send(id, [task]);
      expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'internal' });
      await engine.api.call('DELETE', `/containers/${taken}`);
    }
    await expect.poll(() => statesOf(id), { timeout: 10_000 }).toContain('quarantined');
    await comesBack(id);
  });

  it('counts those of one outage once', async () => {
    const id = await start({ slots: 4 });
    await engine.breakRuntime();
    await engine.hold();
    const tasks = [1, 2, 3, 4].map(() => addTask());
    await send(id, tasks);
    await expect
      .poll(() => tasks.filter(({ claims }) => claims > 0).length, { timeout: 10_000 })
      .toBe(4);
    await engine.release();
    for (const task of tasks) {
      expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'engine_away' });
    }
    await staysReady(id);
    await engine.mend();
    await runs(id, addTask());
  });
});

describe('a consumer stays at work', () => {
  it('when an image does not start, however often', async () => {
    const id = await start();
    for (let time = 1; time <= 3; time += 1) {
      const task = addTask(poison);
      await send(id, [task]);
      const result = await task.settled;
      expect(result).toMatchObject({ kind: 'failed', reason: 'start_failed', exit_code: null });
    }
    await staysReady(id);
  });

  it('when an image does not start and the consumer has a device', async () => {
    const id = await start({ gpu });
    const task = addTask(poison);
    await send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'failed', reason: 'start_failed' });
  });

  it('when its leases have ended while it slept', async () => {
    const id = await start();
    for (let time = 1; time <= 3; time += 1) {
      const task = addTask();
      task.refuseOutput = new AppError('CONFLICT', 'The lease is not current.');
      await send(id, [task]);
      await expect.poll(() => task.refusals, { timeout: 10_000 }).toBeGreaterThan(0);
      task.isSuperseded = true;
      await expect.poll(() => engine.api.listObjects(), { timeout: 10_000 }).toEqual([]);
    }
    await staysReady(id);
  });

  it('when what it says of its attempts is not taken', async () => {
    const id = await start();
    await engine.breakRuntime();
    for (let time = 1; time <= 3; time += 1) {
      const task = addTask();
      task.refuseSettlement = true;
      await send(id, [task]);
      expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'engine_away' });
      await expect.poll(() => engine.api.listObjects(), { timeout: 10_000 }).toEqual([]);
    }
    await staysReady(id);
  });

  it('when private-api fails at its outputs', async () => {
    const id = await start();
    for (let time = 1; time <= 3; time += 1) {
      const task = addTask();
      task.refuseOutput = new AppError('INTERNAL', 'broken');
      await send(id, [task]);
      expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'upload_failed' });
    }
    await staysReady(id);
  });
});

it('a consumer that stops signs off before its probe has ended, which nobody removes', async () => {
  const removals: string[] = [];
  const id = await start({
    wrap: (port) => ({
      ...port,
      removeContainer: (container, signal) => {
        removals.push(container);
        return port.removeContainer(container, signal);
      },
    }),
  });
  await engine.breakRuntime();
  await meet(id, 'engine_away', 3);
  await engine.hold();
  const probes = async () =>
    (await engine.api.listObjects()).filter(({ name }) => name.includes('-probe-'));
  await expect.poll(probes, { timeout: 10_000 }).toHaveLength(1);
  const [probe] = await probes();
  const listed = (await engine.api.call('GET', '/containers/json?all=1')) as {
    Id: string;
    Names: string[];
  }[];
  const { Id } = listed.find(({ Names }) => Names.includes(`/${probe!.name}`))!;
  // For three passes and more.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(removals.filter((one) => [Id, probe!.name].includes(one))).toEqual([]);
  const closed = closeAll();
  await expect.poll(() => api.signedOff, { timeout: 5_000 }).toContain(id);
  expect(await probes()).toMatchObject([{ name: probe!.name }]);
  await engine.release();
  await closed;
});

it('starts a container again that failed to start while others do', async () => {
  const id = await start();
  await engine.breakOneStart();
  await runs(id, addTask());
});

it('calls limits that the engine refuses its own fault, not the image’s', async () => {
  const id = await start({ limits: { cpus: 100_000 } });
  const task = addTask();
  await send(id, [task]);
  expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'internal' });
});

it('finds with a probe that a volume cannot be mounted', async () => {
  const port = createDockerEngine({ dockerHost: engine.dockerHost });
  const names = createNames(installationId, 'probing');
  const volumes = { broken: 'input' } as const;
  const probe = () =>
    probeStart(port, { ...names.probe('random'), gpus: [], limits: smallLimits, volumes }, never);
  const labels = names.attempt('t', 1).labels('input');
  await port.createVolume({ name: 'broken', labels }, never);
  await probe();
  await rm(join(engine.dataDir, 'docker', 'root', 'volumes', 'broken', '_data'), {
    recursive: true,
  });
  await expect(probe()).rejects.toMatchObject({ problem: 'failed' });
  await port.removeVolume('broken', never);
});

async function start(options: Partial<TestConsumerOptions> = {}, state = 'ready'): Promise<string> {
  const id = `quarantined-${(count += 1)}`;
  const { dockerHost } = engine;
  open.push(await startTestConsumer({ id, dockerHost, apiUrl: api.url, redis, ...options }, never));
  await untilState(id, state);
  return id;
}

async function closeAll(): Promise<void> {
  await Promise.all(open.map((consumer) => consumer.close()));
  open = [];
}

function addTask(tag = image): TestTask {
  return api.addTask({
    work: { container_tag: tag, pull_policy: 'never' },
    input: scriptZip('true'),
  });
}

async function send(id: string, tasks: readonly TestTask[]): Promise<void> {
  const sent = tasks.map(({ uid, attempt }) => ({ taskUid: uid, attempt }));
  await expect
    .poll(() => tickets.send(id, sent).then(() => 'sent', String), { timeout: 10_000 })
    .toBe('sent');
}

/** So many tasks, one after another, that end with this fault. */
async function meet(id: string, cause: FaultCause, times: number, tag = image): Promise<void> {
  for (let fault = 1; fault <= times; fault += 1) {
    expect(lastOf(id)?.state).toBe('ready');
    const task = addTask(tag);
    await send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'fault', cause });
  }
}

async function runs(id: string, task: TestTask): Promise<void> {
  await send(id, [task]);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
}

/** For two probes and more. */
async function staysQuarantined(id: string): Promise<void> {
  const task = addTask();
  await send(id, [task]);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(task.holder).toBeUndefined();
  expect(lastOf(id)?.state).toBe('quarantined');
}

/** For two heartbeats and more. */
async function staysReady(id: string): Promise<void> {
  const before = api.registrations.length;
  await expect
    .poll(() => api.registrations.length, { timeout: 10_000 })
    .toBeGreaterThan(before + 2);
  expect(statesOf(id)).toEqual(['reconciling', 'ready']);
}

async function comesBack(id: string): Promise<void> {
  await untilState(id, 'ready');
  expect(lastOf(id)?.reason).toBeNull();
  await runs(id, addTask());
}

function untilState(id: string, state: string): Promise<void> {
  return expect.poll(() => lastOf(id)?.state, { timeout: 10_000 }).toBe(state);
}

function lastOf(id: string) {
  return api.registrations.filter((registration) => registration.id === id).at(-1);
}

function statesOf(id: string): string[] {
  const registrations = api.registrations.filter((registration) => registration.id === id);
  return [...new Set(registrations.map(({ state }) => state))];
}
