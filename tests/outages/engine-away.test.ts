import type { ConsumerDetails } from '@inference-server/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ownEngine,
  testEngine,
  waitUntil,
  type OwnEngine,
  type TestApp,
} from '@inference-server/testing';
import { makeScriptImage, runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, untilReleased, type ScriptTasks } from '../script-tasks.js';

let engine: OwnEngine;
let server: RunningServer;
let tasks: ScriptTasks;
let consumer: TestApp;

beforeAll(async () => {
  engine = await ownEngine({ liveRestore: true });
  server = await runServer({ CPU_SLOTS: '1' }, { engine });
  // Longer than the tests' usual one: which leases lapse on a busy machine is not the question here.
  await server.startPrivateApi({ LEASE_S: '15' });
  await server.startPublicApi();
  consumer = await server.startConsumer();
  tasks = await scriptTasks(server);
}, 120_000);

async function runningTask(script = untilReleased()): Promise<string> {
  const uid = await tasks.post(script);
  await tasks.untilItRuns(uid);
  return uid;
}

const consumers = async () => {
  const answer = await fetch(`${server.privateApiUrl}/api/consumers/`, {
    headers: { authorization: `Bearer ${server.token}` },
  });
  return (await answer.json()) as ConsumerDetails[];
};

const untilConsumerIs = async (state: ConsumerDetails['state']) => {
  const is = async () => (await consumers()).find(({ id }) => id === 'cpu')?.state === state;
  expect(await waitUntil(is, { timeoutMs: 15_000 })).toBe(true);
};

const untilTaskIs = async (uid: string, state: string) => {
  const is = async () => (await server.client.getTaskStatus(uid)).state === state;
  expect(await waitUntil(is, { timeoutMs: 15_000 })).toBe(true);
};

const oneAttempt = [{ number: 1, outcome: 'finished', reason: null }];

/** Of a task that waits for its release: `starts` are those that its engine told before it ended. */
async function expectOneRun(uid: string, starts: number): Promise<void> {
  await tasks.release(uid);
  expect(await tasks.resultOf(uid)).toBe('fine\n');
  expect(await tasks.attemptsOf(uid)).toEqual(oneAttempt);
  expect(starts + (await tasks.startsSinceItsStart(uid))).toBe(1);
}

describe.each([
  ['stopped', 'SIGTERM'],
  ['killed', 'SIGKILL'],
] as const)('an engine with live-restore that is %s and started again', (_how, signal) => {
  it('leaves the container running, which is waited for: one start', async () => {
    const uid = await runningTask();
    const starts = await tasks.startsSinceItsStart(uid);
    await engine.end(signal);
    await untilConsumerIs('engine_away');
    await engine.start({ liveRestore: true });
    await untilConsumerIs('ready');
    expect(await tasks.containersOf(uid)).toBe(1);
    await expectOneRun(uid, starts);
    await tasks.expectNothingLeft();
  }, 90_000);

  it('makes no fault of what the model does after it', async () => {
    // Long enough for the engine to be asked again: an end in its absence is nobody's doing.
    const uid = await runningTask(untilReleased('sleep 2; exit 3'));
    await engine.end(signal);
    await untilConsumerIs('engine_away');
    await engine.start({ liveRestore: true });
    await untilConsumerIs('ready');
    await tasks.release(uid);
    await untilTaskIs(uid, 'FAILED');
    expect(await tasks.attemptsOf(uid)).toEqual([
      { number: 1, outcome: 'failed', reason: 'exit_code' },
    ]);
    await tasks.expectNothingLeft();
  }, 90_000);
});

it('a container is adopted after its engine and its consumer were both away', async () => {
  const uid = await runningTask();
  const starts = await tasks.startsSinceItsStart(uid);
  await engine.end();
  await untilConsumerIs('engine_away');
  await consumer.stop();
  await engine.start({ liveRestore: true });
  consumer = await server.startConsumer();
  await expectOneRun(uid, starts);
  await tasks.expectNothingLeft();
}, 90_000);

it('a consumer whose engine is away says so and takes nothing; what waits goes elsewhere', async () => {
  const elsewhere = await testEngine();
  await makeScriptImage(elsewhere.api, elsewhere.image);
  const running = await runningTask();
  const starts = await tasks.startsSinceItsStart(running);
  const waiting = await tasks.post('echo fine > /output/result');
  await engine.end();
  await untilConsumerIs('engine_away');
  const posted = await tasks.post('echo fine > /output/result');

  const other = await server.startConsumer('other', { DOCKER_HOST: elsewhere.dockerHost });
  for (const uid of [waiting, posted]) {
    expect(await tasks.resultOf(uid)).toBe('fine\n');
    expect(await tasks.attemptsOf(uid)).toEqual(oneAttempt);
    expect(await tasks.startsSinceItsStart(uid, elsewhere.api)).toBe(1);
  }
  expect(await consumers()).toMatchObject([
    { id: 'cpu', state: 'engine_away' },
    { id: 'other', state: 'ready' },
  ]);
  // Before the 30 s are over for which a run waits for its engine.
  await engine.start({ liveRestore: true });
  await untilConsumerIs('ready');
  await expectOneRun(running, starts);
  await other.stop();
  await tasks.expectNothingLeft();
}, 90_000);

describe('an engine without live-restore', () => {
  beforeAll(async () => {
    await engine.end();
    await engine.start();
    await untilConsumerIs('ready');
  }, 60_000);

  it.each([
    ['stopped', 'SIGTERM'],
    ['killed', 'SIGKILL'],
  ] as const)(
    'that is %s ends the container: another attempt',
    async (_how, signal) => {
      const uid = await runningTask();
      await engine.end(signal);
      await engine.start();
      await untilConsumerIs('ready');
      const isNext = async () =>
        (await tasks.attemptsOf(uid)).length === 2 && (await tasks.containersOf(uid)) === 1;
      expect(await waitUntil(isNext, { timeoutMs: 20_000 })).toBe(true);
      await tasks.release(uid);
      expect(await tasks.resultOf(uid)).toBe('fine\n');
      const [first, ...others] = await tasks.attemptsOf(uid);
      expect(first).toMatchObject({ number: 1, outcome: 'fault' });
      expect(['interrupted', 'engine_away']).toContain(first?.reason);
      expect(others).toEqual([{ number: 2, outcome: 'finished', reason: null }]);
      expect(await tasks.startsSinceItsStart(uid)).toBe(1);
      await tasks.expectNothingLeft();
    },
    90_000,
  );

  it('that stays away for 30 s is a fault: the next attempt is elsewhere', async () => {
    const elsewhere = await testEngine();
    await makeScriptImage(elsewhere.api, elsewhere.image);
    const uid = await runningTask();
    const other = await server.startConsumer('other', { DOCKER_HOST: elsewhere.dockerHost });
    await engine.end('SIGKILL');
    const isOver = async () => (await tasks.attemptsOf(uid)).length === 2;
    expect(await waitUntil(isOver, { timeoutMs: 45_000 })).toBe(true);
    await tasks.untilItRuns(uid, elsewhere.api);
    await tasks.release(uid, elsewhere.api);
    expect(await tasks.resultOf(uid)).toBe('fine\n');
    expect(await tasks.attemptsOf(uid)).toEqual([
      { number: 1, outcome: 'fault', reason: 'engine_away' },
      { number: 2, outcome: 'finished', reason: null },
    ]);
    await other.stop();
    await engine.start();
    await tasks.expectNothingLeft();
  }, 120_000);
});
