import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, type ScriptTasks } from '../script-tasks.js';

let server: RunningServer;
let tasks: ScriptTasks;
let privateApi: TestApp;
let consumer: TestApp;

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi();
  await server.startPublicApi();
  consumer = await server.startConsumer();
  tasks = await scriptTasks(server);
}, 60_000);

async function expectOneRun(uid: string): Promise<void> {
  expect(await tasks.resultOf(uid)).toBe('fine\n');
  expect(await tasks.attemptsOf(uid)).toEqual([{ number: 1, outcome: 'finished', reason: null }]);
  expect(tasks.startsOf(uid)).toBe(1);
  await tasks.expectNothingLeft();
}

describe('a task', () => {
  it('sleeps through a consumer upgrade, a private-api restart and FLUSHALL in one start', async () => {
    const uid = await tasks.post('sleep 8; echo fine > /output/result');
    await tasks.untilItRuns(uid);
    await consumer.stop();
    expect(await tasks.containersOf(uid)).toBe(1);
    await privateApi.stop();
    await server.redis.wipe();
    privateApi = await server.startPrivateApi();
    consumer = await server.startConsumer();
    await expectOneRun(uid);
  }, 90_000);

  it('is collected by the next process when it ended while there was none', async () => {
    const uid = await tasks.post('sleep 1; echo fine > /output/result');
    await tasks.untilItRuns(uid);
    await consumer.stop();
    const over = async () => (await tasks.containersOf(uid)) === 0;
    expect(await waitUntil(over, { timeoutMs: 10_000 })).toBe(true);
    consumer = await server.startConsumer();
    await expectOneRun(uid);
  }, 60_000);

  it('goes on when its consumer was killed: one attempt, one start', async () => {
    const uid = await tasks.post('sleep 9; echo fine > /output/result');
    await tasks.untilItRuns(uid);
    await consumer.kill();
    consumer = await server.startConsumer();
    await expectOneRun(uid);
  }, 90_000);

  it('has another attempt elsewhere when its consumer does not come back', async () => {
    const uid = await tasks.post('sleep 2; echo fine > /output/result');
    await tasks.untilItRuns(uid);
    await consumer.kill();
    const other = await server.startConsumer('other');
    expect(await tasks.resultOf(uid)).toBe('fine\n');
    expect(await tasks.attemptsOf(uid)).toEqual([
      { number: 1, outcome: 'lost', reason: 'lease_lost' },
      { number: 2, outcome: 'finished', reason: null },
    ]);
    // What the first has left is its own to remove.
    consumer = await server.startConsumer();
    await tasks.expectNothingLeft();
    await other.stop();
  }, 90_000);

  it('is taken from a consumer that was frozen, which then ends without touching it', async () => {
    const uid = await tasks.post('sleep 12; echo fine > /output/result');
    await tasks.untilItRuns(uid);
    process.kill(consumer.pid, 'SIGSTOP');
    const frozen = consumer;
    consumer = await server.startConsumer();
    await waitUntil(async () => (await consumer.log()).includes('adopted'), { timeoutMs: 20_000 });
    process.kill(frozen.pid, 'SIGCONT');
    expect(await frozen.ended).toMatchObject({ code: 1 });
    expect(await frozen.log()).toContain('Another process is the consumer');
    expect(await tasks.containersOf(uid)).toBe(1);
    await expectOneRun(uid);
    await frozen.kill();
  }, 90_000);

  it.each([0, 40])(
    'is taken from a consumer that was frozen %s ms after its claim, which starts and leaves nothing',
    async (ms) => {
      const uid = await tasks.post('sleep 1; echo fine > /output/result');
      const isClaimed = async () => (await tasks.attemptsOf(uid)).length > 0;
      expect(await waitUntil(isClaimed, { timeoutMs: 10_000, everyMs: 5 })).toBe(true);
      await sleep(ms);
      process.kill(consumer.pid, 'SIGSTOP');
      const frozen = consumer;
      consumer = await server.startConsumer('cpu', { SWEEP_INTERVAL_S: '1' });
      expect(await tasks.resultOf(uid)).toBe('fine\n');
      const starts = tasks.startsOf(uid);
      process.kill(frozen.pid, 'SIGCONT');
      expect(await frozen.ended).toMatchObject({ code: 1 });
      await tasks.expectNothingLeft();
      // By name: the engine makes a volume that is gone anew, without labels.
      const objects = await server.engine.api.listObjects();
      expect(objects.filter(({ name }) => name.includes(uid))).toEqual([]);
      expect(tasks.startsOf(uid)).toBe(starts);
      await frozen.kill();
    },
    60_000,
  );

  it('is cancelled when its container is gone, and deleted likewise', async () => {
    const uid = await tasks.post('trap "" TERM; while true; do sleep 0.1; done');
    await tasks.untilItRuns(uid);
    const cancelled = await server.client.cancelTask(uid, { waitS: 30 });
    expect(cancelled).toMatchObject({
      state: 'CANCELLED',
      cancel_requested: true,
      attempts: [{ number: 1, outcome: 'cancelled' }],
    });
    expect(await tasks.containersOf(uid)).toBe(0);
    expect(await server.client.cancelTask(uid)).toMatchObject({ state: 'CANCELLED' });
    await expect(server.client.getTask(uid)).rejects.toMatchObject({ code: 'TASK_FAILED' });

    const deleted = await tasks.post('sleep 60');
    await tasks.untilItRuns(deleted);
    await server.client.deleteTask(deleted);
    await expect(server.client.getTaskStatus(deleted)).rejects.toMatchObject({
      code: 'TASK_NOT_FOUND',
    });
    await tasks.expectNothingLeft();
  }, 60_000);
});

it('a second process of one name is refused while the first is heard of', async () => {
  const second = server.startConsumer('cpu', { PREDECESSOR_WAIT_S: '2' });
  // It never becomes ready by itself; the first one does not mind.
  await second.catch(() => undefined);
  await sleep(4_000);
  const refused = await second;
  expect(await refused.ended).toMatchObject({ code: 1 });
  expect(await refused.log()).toContain('Another process is the consumer cpu already.');
  const uid = await tasks.post('echo fine > /output/result');
  expect(await tasks.resultOf(uid)).toBe('fine\n');
  await refused.kill();
}, 60_000);
