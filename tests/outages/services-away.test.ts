import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Problem } from '@inference-server/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  freePort,
  ownDatabase,
  ownRedis,
  testFolder,
  waitUntil,
  type OwnDatabase,
  type TestApp,
} from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, untilReleased, zipOfScript, type ScriptTasks } from '../script-tasks.js';

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

const fine = 'echo fine > /output/result';
const oneAttempt = [{ number: 1, outcome: 'finished', reason: null }];

async function runningTask(): Promise<string> {
  const uid = await tasks.post(untilReleased());
  await tasks.untilItRuns(uid);
  return uid;
}

/** The answer to a caller, and how long it took (ms). */
async function ask(path: string, body?: Buffer, headers: Record<string, string> = {}) {
  const began = performance.now();
  const answer = await fetch(`${server.publicApiUrl}/api/tasks/${path}`, {
    signal: AbortSignal.timeout(60_000),
    ...(body && {
      method: 'POST',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/zip', ...headers },
    }),
  });
  const answered = await answer.json();
  return {
    status: answer.status,
    body: answered,
    code: (answered as Partial<Problem>).code,
    retryAfter: Number(answer.headers.get('retry-after') ?? 0),
    ms: performance.now() - began,
  };
}

const post = (headers: Record<string, string> = {}) =>
  ask('?human_readable_id=script', zipOfScript(fine), headers);

async function expectOneRun(uid: string): Promise<void> {
  expect(await tasks.resultOf(uid)).toBe('fine\n');
  expect(await tasks.attemptsOf(uid)).toEqual(oneAttempt);
  expect(tasks.startsOf(uid)).toBe(1);
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

it('while private-api is away callers get a 503, and a post under a key can be sent again', async () => {
  const uid = await runningTask();
  const waited = tasks.resultOf(uid);
  await privateApi.kill();
  await tasks.release(uid);
  const key = { 'idempotency-key': 'sent-again' };
  // For longer than the lease has (3 s).
  const until = performance.now() + 4_000;
  while (performance.now() < until) {
    for (const answer of await Promise.all([post(key), ask(uid)])) {
      expect(answer).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' });
      expect(answer.retryAfter).toBeGreaterThan(0);
      expect(answer.ms).toBeLessThan(8_000);
    }
  }
  privateApi = await server.startPrivateApi();
  expect(await waited).toBe('fine\n');
  const [first, again] = [await post(key), await post(key)];
  expect([first.status, again]).toEqual([200, { ...first, ms: again.ms }]);
  for (const each of [uid, String(first.body)]) await expectOneRun(each);
  await tasks.expectNothingLeft();
}, 90_000);

it('while the blob store is away nothing can be posted, and an output waits for it', async () => {
  const uid = await runningTask();
  const storage = join(server.folder, 'storage');
  await rename(storage, `${storage}.away`);
  try {
    expect(await post()).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' });
    await tasks.release(uid);
    const isRepeated = async () =>
      (await consumer.log())
        .split('\n')
        .some((line) => line.includes(uid) && line.includes('the upload is repeated'));
    expect(await waitUntil(isRepeated, { timeoutMs: 15_000 })).toBe(true);
  } finally {
    await rename(`${storage}.away`, storage);
  }
  await expectOneRun(uid);
  await expectOneRun(await tasks.post(fine));
  await tasks.expectNothingLeft();
}, 60_000);

it('while the blob store is away an input is waited for, in one attempt', async () => {
  await consumer.stop();
  const uid = await tasks.post(fine);
  const storage = join(server.folder, 'storage');
  await rename(storage, `${storage}.away`);
  try {
    consumer = await server.startConsumer();
    const retries = async () =>
      (await consumer.log())
        .split('\n')
        .filter((line) => line.includes(uid) && line.includes('fetched again')).length;
    // Longer than a transfer that breaks is tried again for.
    expect(await waitUntil(async () => (await retries()) >= 8, { timeoutMs: 40_000 })).toBe(true);
  } finally {
    await rename(`${storage}.away`, storage);
  }
  await expectOneRun(uid);
  await tasks.expectNothingLeft();
}, 90_000);

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

it('a container outlives the end of everything but its engine', async () => {
  const uid = await runningTask();
  await redis.stop();
  await database.stop();
  const began = performance.now();
  await Promise.all([consumer.stop(), privateApi.stop()]);
  // Within its grace: so long the consumer tries to park the lease.
  expect(performance.now() - began).toBeLessThan(35_000);
  expect(await tasks.containersOf(uid)).toBe(1);
  await database.start();
  redis = await ownRedis(redisPlace);
  privateApi = await server.startPrivateApi();
  consumer = await server.startConsumer();
  await tasks.release(uid);
  await expectOneRun(uid);
  await tasks.expectNothingLeft();
}, 90_000);
