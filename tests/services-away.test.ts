import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Problem } from '@inference-server/contracts';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  freePort,
  ownDatabase,
  ownRedis,
  testFolder,
  waitUntil,
  type OwnDatabase,
  type TestApp,
} from '@inference-server/testing';
import { runServer, type RunningServer } from './running-server.js';
import { scriptTasks, untilReleased, zipOfScript, type ScriptTasks } from './script-tasks.js';

let database: OwnDatabase;
let redis: Awaited<ReturnType<typeof ownRedis>>;
let redisPlace: { dataDir: string; port: number };
let server: RunningServer;
let tasks: ScriptTasks;
let consumer: TestApp;
let privateApi: TestApp;

beforeAll(async () => {
  database = await ownDatabase();
  redisPlace = { dataDir: await testFolder(), port: await freePort() };
  redis = await ownRedis(redisPlace);
  server = await runServer({}, { database, redisUrl: redis.url });
  privateApi = await server.startPrivateApi();
  await server.startPublicApi();
  consumer = await server.startConsumer();
  tasks = await scriptTasks(server);
}, 120_000);

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') {
    console.log(await consumer.log(), await privateApi.log());
  }
});

const fine = 'echo fine > /output/result';
const oneAttempt = [{ number: 1, outcome: 'finished', reason: null }];

async function runningTask(): Promise<string> {
  const uid = await tasks.post(untilReleased());
  await tasks.untilItRuns(uid);
  return uid;
}

/** The answer to a caller, and how long it took (ms). */
async function ask(path: string, body?: Buffer) {
  const began = performance.now();
  const answer = await fetch(`${server.publicApiUrl}/api/tasks/${path}`, {
    signal: AbortSignal.timeout(60_000),
    ...(body && {
      method: 'POST',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/zip' },
    }),
  });
  const problem = (await answer.json()) as Problem;
  const retryAfter = Number(answer.headers.get('retry-after') ?? 0);
  return { status: answer.status, code: problem.code, retryAfter, ms: performance.now() - began };
}

const post = () => ask('?human_readable_id=script', zipOfScript(fine));

async function expectOneRun(uid: string): Promise<void> {
  expect(await tasks.resultOf(uid)).toBe('fine\n');
  expect(await tasks.attemptsOf(uid)).toEqual(oneAttempt);
  expect(await tasks.startsOf(uid)).toBe(1);
}

describe('while PostgreSQL', () => {
  it('is away callers get a 503, containers run on, and are settled once it is back', async () => {
    const [early, late] = [await runningTask(), await runningTask()];
    const waited = tasks.resultOf(early);
    await database.stop();
    await tasks.release(early);
    // For longer than the lease has (3 s): it lapses by the clock of a database that is away.
    const until = performance.now() + 5_000;
    while (performance.now() < until) {
      for (const answer of await Promise.all([post(), ask(late), ask(`${late}/status`)])) {
        expect(answer).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' });
        expect(answer.retryAfter).toBeGreaterThan(0);
        expect(answer.ms).toBeLessThan(8_000);
      }
    }
    expect(await tasks.containersOf(late)).toBe(1);
    await database.start();
    expect(await waited).toBe('fine\n');
    await tasks.release(late);
    for (const uid of [early, late]) await expectOneRun(uid);
    await expectOneRun(await tasks.post(fine));
    await tasks.expectNothingLeft();
  }, 90_000);

  it('stands still callers are not held for longer than a statement may take', async () => {
    const uid = await runningTask();
    await database.freeze();
    const answers = await Promise.all([post(), ask(uid), ask(`${uid}/status`)]);
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' });
      expect(answer.retryAfter).toBeGreaterThan(0);
      expect(answer.ms).toBeLessThan(27_000);
    }
    expect(await tasks.containersOf(uid)).toBe(1);
    database.thaw();
    await tasks.release(uid);
    await expectOneRun(uid);
    await expectOneRun(await tasks.post(fine));
    await tasks.expectNothingLeft();
  }, 90_000);
});

it('while Redis is away posts are accepted and what runs is settled; what it lost is made again', async () => {
  const uid = await runningTask();
  await redis.stop();
  const posted = await tasks.post(fine);
  const readiness = async () => (await server.client.getReadiness()).checks['redis'];
  expect(await waitUntil(async () => (await readiness()) === 'down', { timeoutMs: 10_000 })).toBe(
    true,
  );
  expect(await server.client.getReadiness()).toMatchObject({ status: 'degraded' });
  await tasks.release(uid);
  await expectOneRun(uid);
  expect(await ask(posted)).toMatchObject({ status: 551, code: 'TASK_PENDING' });

  await rm(join(redisPlace.dataDir, 'redis'), { recursive: true });
  redis = await ownRedis(redisPlace);
  await expectOneRun(posted);
  await tasks.expectNothingLeft();
}, 90_000);

it('private-api ends at its grace while PostgreSQL stands still', async () => {
  await privateApi.stop();
  privateApi = await server.startPrivateApi({ STOP_GRACE_S: '3' });
  await database.freeze();
  const began = performance.now();
  process.kill(privateApi.pid, 'SIGTERM');
  expect(await privateApi.ended).toMatchObject({ signal: null });
  expect(performance.now() - began).toBeLessThan(6_000);
  // Whatever its exit code was: it had to leave without taking leave.
  await privateApi.kill();
  database.thaw();
  privateApi = await server.startPrivateApi();
}, 60_000);

it('processes end in order while Redis and PostgreSQL are away', async () => {
  await redis.stop();
  await database.stop();
  const began = performance.now();
  await Promise.all([consumer.stop(), privateApi.stop()]);
  expect(performance.now() - began).toBeLessThan(15_000);
}, 60_000);
