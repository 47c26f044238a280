import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buffer, json } from 'node:stream/consumers';
import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '@inference-server/sdk';
import { newOperatorToken } from '@inference-server/service-kit';
import {
  createTestDatabase,
  freePort,
  ownRedis,
  testEngine,
  testFolder,
  waitUntil,
} from '@inference-server/testing';
import { allGone, recordedPids, startServer } from '../server.js';

const up = 'InferenceServer is up';
const timeout = 180_000;

/** The run's engine in place of one more for every start. */
let DOCKER_HOST: string;
beforeAll(async () => {
  DOCKER_HOST = (await testEngine()).dockerHost;
});

async function environmentOf(pid: number | undefined): Promise<string[]> {
  return (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
}

describe('npm start', () => {
  test(
    'with nothing given: all services, the demo, a stop that leaves nothing, a second start that keeps everything',
    { timeout },
    async () => {
      const DATA_DIR = await testFolder();
      const first = await startServer({ DATA_DIR }, { by: 'npm', args: [] });
      await first.untilSays(up);
      expect(first.output()).toContain('statistics.json');
      // The model is shown through every door.
      for (const door of [
        'PredictionService',
        'GRPCInferenceService',
        'infer',
        'ModelZeroRPCService',
      ]) {
        expect(first.output()).toMatch(new RegExp(`${door} +setosa\n`));
      }
      expect(first.output()).toMatch(/redhare.Inference +setosa, virginica\n/);
      expect(first.output()).toMatch(/invocation.v1.Invocation +\["setosa"\]\n/);
      expect(first.output()).toContain(`${first.publicApi}/docs`);
      const uid = /task ([A-Za-z0-9_-]{43})/.exec(first.output())?.[1] ?? '';
      expect((await fetch(`${first.publicApi}/docs`)).status).toBe(200);
      const token = join(DATA_DIR, 'private-api.token');
      expect((await stat(token)).mode & 0o777).toBe(0o600);

      const pids = recordedPids(DATA_DIR);
      expect(Object.keys(pids)).toEqual(
        expect.arrayContaining(['postgres', 'redis', 'private-api', 'public-api', 'job-consumer']),
      );
      // The engine ends with the server: there is nothing to hand over.
      expect(await environmentOf(pids['job-consumer'])).toContain('HAND_OVER=false');
      first.signal('SIGINT', 'group');
      await first.ended;
      expect(await waitUntil(() => allGone(pids), { timeoutMs: 60_000 })).toBe(true);
      expect(recordedPids(DATA_DIR)).toEqual({});
      expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(DATA_DIR);

      const second = await startServer({ DATA_DIR });
      await second.untilSays(up);
      const caller = createClient({ baseUrl: second.publicApi });
      const ids = (await caller.listModels()).map((model) => model.human_readable_id);
      expect(ids).toEqual(['copy', 'iris', 'threshold-volume']);
      const { zip } = await caller.waitForTask(uid);
      const names = new AdmZip(await buffer(zip)).getEntries().map(({ entryName }) => entryName);
      expect(names).toContain('statistics.json');
      second.signal('SIGTERM');
      expect(await second.ended).toBe(0);
    },
  );

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'everything ends when npm gets a %s',
    { timeout },
    async (name) => {
      const DATA_DIR = await testFolder();
      const server = await startServer({ DATA_DIR, DOCKER_HOST }, { by: 'npm' });
      await server.untilSays(up);
      const pids = recordedPids(DATA_DIR);
      expect(await environmentOf(pids['job-consumer'])).toContain('HAND_OVER=true');
      server.signal(name);
      expect(await waitUntil(() => allGone(pids), { timeoutMs: 60_000 })).toBe(true);
      // Nobody that could be waited for is left: the server's own last steps are awaited by looking.
      const forgotten = () => Object.keys(recordedPids(DATA_DIR)).length === 0;
      expect(await waitUntil(forgotten, { timeoutMs: 20_000 })).toBe(true);
      await server.ended;
    },
  );
});

describe('a start', () => {
  test(
    'after a kill -9 ends its own leftovers, and does not call them a taken port',
    { timeout },
    async () => {
      const DATA_DIR = await testFolder();
      const ports = {
        PUBLIC_API_PORT: String(await freePort()),
        PRIVATE_API_PORT: String(await freePort()),
      };
      const first = await startServer({ DATA_DIR, DOCKER_HOST, ...ports });
      await first.untilSays(up);
      const pids = recordedPids(DATA_DIR);
      first.signal('SIGKILL');
      expect(await first.ended).toBe('SIGKILL');

      const second = await startServer({ DATA_DIR, DOCKER_HOST, ...ports });
      await second.untilSays(up);
      expect(second.output()).toContain('Ended what an earlier start had left running');
      expect(second.output()).not.toContain('taken');
      expect(allGone(pids)).toBe(true);
      second.signal('SIGINT');
      expect(await second.ended).toBe(0);
    },
  );

  test('on a data folder in use says by whom', { timeout }, async () => {
    const DATA_DIR = await testFolder();
    const first = await startServer({ DATA_DIR, DOCKER_HOST });
    await first.untilSays(up);
    const second = await startServer({ DATA_DIR, DOCKER_HOST });
    expect(await second.ended).toBe(1);
    expect(second.output()).toContain(`already runs on ${DATA_DIR} (process ${first.pid})`);
    expect((await fetch(`${first.publicApi}/readyz`)).status).toBe(200);
    first.signal('SIGTERM');
    expect(await first.ended).toBe(0);
  });

  test('says which port is taken, and by which variable to choose another', async () => {
    const taken = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const DATA_DIR = await testFolder();
    const server = await startServer({ DATA_DIR, PUBLIC_API_PORT: String(port) });
    expect(await server.ended).toBe(1);
    expect(server.output()).toContain(`Port ${port} of 127.0.0.1 is taken`);
    expect(server.output()).toContain('set PUBLIC_API_PORT');
    taken.close();
  });

  test('that is called off leaves nothing', { timeout }, async () => {
    const DATA_DIR = await testFolder();
    const server = await startServer({ DATA_DIR, DOCKER_HOST });
    await server.untilSays('Redis           started');
    const pids = recordedPids(DATA_DIR);
    server.signal('SIGTERM');
    expect(await server.ended).toBe(0);
    expect(allGone(pids)).toBe(true);
    expect(recordedPids(DATA_DIR)).toEqual({});
  });
});

test('a start says what it waits for while others have the tables', { timeout }, async () => {
  const database = await createTestDatabase({ empty: true });
  const other = `DO $$ BEGIN CREATE TABLE tasks (); PERFORM pg_sleep(600); END $$`;
  const ended = expect(database.query(other)).rejects.toThrow('canceling statement');
  const server = await startServer({
    DATA_DIR: await testFolder(),
    DATABASE_URL: database.url,
    DOCKER_HOST,
  });
  await server.untilSays('20261121000000_init: its tables are in use; trying again');
  server.signal('SIGTERM');
  expect(await server.ended).toBe(0);
  await database.query(
    `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = $1 AND datname = $2`,
    [other, database.name],
  );
  await ended;
});

test('services that are given are used, and not stopped', { timeout }, async () => {
  const database = await createTestDatabase({ empty: true });
  const redis = await ownRedis();
  const token = newOperatorToken();
  const DATA_DIR = await testFolder();
  const server = await startServer({
    DATA_DIR,
    DOCKER_HOST,
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    PRIVATE_API_TOKEN: token,
  });
  await server.untilSays(up);
  expect(Object.keys(recordedPids(DATA_DIR)).sort()).toEqual([
    'job-consumer',
    'private-api',
    'public-api',
    'rpc-gateway',
  ]);
  // Of the database only private-api is told.
  const told = await environmentOf(recordedPids(DATA_DIR)['job-consumer']);
  expect(told.map((line) => line.split('=')[0])).not.toContain('DATABASE_URL');
  const operator = createClient({ baseUrl: server.privateApi, token });
  expect(await operator.listModels()).toEqual([]);
  server.signal('SIGTERM');
  expect(await server.ended).toBe(0);
  expect(await database.query('select count(*)::int as n from installations')).toEqual([{ n: 1 }]);
  expect(recordedPids(join(DATA_DIR))).toEqual({});
});

test(
  'an app that dies is started again; without its database everything stops',
  { timeout },
  async () => {
    const DATA_DIR = await testFolder();
    const server = await startServer({ DATA_DIR, DOCKER_HOST });
    await server.untilSays(up);
    for (const name of ['private-api', 'job-consumer', 'redis']) {
      process.kill(recordedPids(DATA_DIR)[name]!, 'SIGKILL');
      await server.untilSays(`${name === 'redis' ? 'Redis' : name} runs again`);
    }
    const ready = async () => (await fetch(`${server.publicApi}/readyz`)).text();
    const everything = async () => (await ready()).includes('"status":"ready"');
    expect(await waitUntil(everything, { timeoutMs: 60_000 })).toBe(true);

    process.kill(recordedPids(DATA_DIR)['postgres']!, 'SIGKILL');
    expect(await server.ended).toBe(1);
    expect(server.output()).toContain('PostgreSQL has ended (SIGKILL).');
    expect(recordedPids(DATA_DIR)).toEqual({});
  },
);

test('a stop under load lets a post finish', { timeout }, async () => {
  const { image } = await testEngine();
  const DATA_DIR = await testFolder();
  const first = await startServer({ DATA_DIR, DOCKER_HOST, ALLOW_PUBLIC_POST_MODEL: '1' });
  await first.untilSays(up);
  const caller = createClient({ baseUrl: first.publicApi });
  const model = 'empty';
  await caller.postModel({ human_readable_id: model, container_tag: image });
  const zip = new AdmZip();
  zip.addFile('a', Buffer.from('b'));
  const bytes = zip.toBuffer();
  const upload = request(`${first.publicApi}/api/tasks/?human_readable_id=${model}`, {
    method: 'POST',
    agent: false,
    headers: { 'content-type': 'application/zip', 'content-length': String(bytes.length) },
  });
  const answered = once(upload, 'response') as Promise<[IncomingMessage]>;
  upload.write(bytes.subarray(0, 20));
  const staging = join(DATA_DIR, 'storage', 'staging');
  const isReceived = async () => (await readdir(staging)).length > 0;
  expect(await waitUntil(isReceived, { timeoutMs: 10_000 })).toBe(true);
  first.signal('SIGTERM');
  await first.untilSays('  public-api');
  upload.end(bytes.subarray(20));
  const [answer] = await answered;
  expect(answer.statusCode).toBe(200);
  const uid = (await json(answer)) as string;
  expect(await first.ended).toBe(0);
  expect(recordedPids(DATA_DIR)).toEqual({});

  const second = await startServer({ DATA_DIR, DOCKER_HOST });
  await second.untilSays(up);
  const { zip: output } = await createClient({ baseUrl: second.publicApi }).waitForTask(uid);
  await buffer(output);
  second.signal('SIGTERM');
  expect(await second.ended).toBe(0);
});
