import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { get, request, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { json } from 'node:stream/consumers';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  anonymousOwner,
  callerHeader,
  writeCaller,
  type Problem,
} from '@inference-server/contracts';
import { publicApiToken } from '@inference-server/service-kit';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';
import { scriptTasks, untilReleased, zipOfScript, type ScriptTasks } from '../script-tasks.js';

let server: RunningServer;
let tasks: ScriptTasks;
let consumer: TestApp;
const apis: Record<string, TestApp> = {};

beforeAll(async () => {
  server = await runServer();
  apis['private-api'] = await server.startPrivateApi();
  apis['public-api'] = await server.startPublicApi();
  consumer = await server.startConsumer();
  tasks = await scriptTasks(server);
}, 120_000);

const fine = 'echo fine > /output/result';
const big = 'dd if=/dev/urandom of=/output/big bs=1M count=24';

const anonymous = writeCaller({
  owner: anonymousOwner,
  role: 'submit',
  credential: anonymousOwner,
  address: '127.0.0.1',
});

/** Both APIs take posts and give outputs away: the public one for the other. */
describe.each([
  {
    app: 'public-api',
    urlOf: () => server.publicApiUrl,
    start: (settings: Record<string, string>) => server.startPublicApi(settings),
    // Another process may hold the question.
    held: { status: 503, code: 'SERVICE_UNAVAILABLE' },
  },
  {
    app: 'private-api',
    urlOf: () => server.privateApiUrl,
    start: (settings: Record<string, string>) => server.startPrivateApi(settings),
    held: { status: 551, code: 'TASK_PENDING' },
  },
])('$app that is stopped under load', ({ app, urlOf, start, held }) => {
  // As the other one asks it: for a caller who shows nothing.
  const headers = () =>
    app === 'public-api'
      ? {}
      : { authorization: `Bearer ${publicApiToken(server.token)}`, [callerHeader]: anonymous };
  const restart = async (settings: Record<string, string> = {}) => {
    await apis[app]?.stop();
    const started = await start(settings);
    apis[app] = started;
    return started;
  };

  const connection = async (words = ''): Promise<Socket> => {
    const { port, hostname } = new URL(urlOf());
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    if (words !== '') {
      socket.write(words);
      await once(socket, 'data');
    }
    return socket.resume();
  };

  /** A post that has sent all but its last bytes. */
  const slowPost = async (): Promise<{ http: ClientRequest; rest: Buffer }> => {
    const zip = zipOfScript(fine);
    const before = await pendingBlobs();
    const http = request(`${urlOf()}/api/tasks/?human_readable_id=script`, {
      method: 'POST',
      agent: false,
      headers: {
        ...headers(),
        'content-type': 'application/zip',
        'content-length': String(zip.length),
      },
    });
    http.on('error', () => undefined);
    onTestFinished(() => void http.destroy());
    http.write(zip.subarray(0, -20));
    const isReceived = async () => (await pendingBlobs()) > before;
    expect(await waitUntil(isReceived, { timeoutMs: 10_000 })).toBe(true);
    return { http, rest: zip.subarray(-20) };
  };

  /** A download of which the first bytes are there, and nobody reads on. */
  const slowGet = async (uid: string): Promise<IncomingMessage> => {
    const asked = get(`${urlOf()}/api/tasks/${uid}`, { agent: false, headers: headers() });
    onTestFinished(() => void asked.destroy());
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.on('error', () => undefined);
    await once(answer, 'readable');
    return answer;
  };

  const sha256Of = async (answer: IncomingMessage): Promise<string> => {
    const hash = createHash('sha256');
    for await (const chunk of answer) hash.update(chunk as Buffer);
    return `"${hash.digest('hex')}"`;
  };

  it('lets finish what can, answers what is held, cuts what is idle, refuses what is new', async () => {
    const running = await tasks.post(untilReleased());
    await tasks.untilItRuns(running);
    const output = await finishedTask(big);
    const { pid, ended } = apis[app]!;

    const idle = [await connection('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'), await connection()];
    const upload = await slowPost();
    const download = await slowGet(output);
    const poll = fetch(`${urlOf()}/api/tasks/${running}?wait=60`, { headers: headers() });
    // Without a way to see that it is held: a plain question after it is answered.
    await (await fetch(`${urlOf()}/api/tasks/${running}`, { headers: headers() })).text();

    const began = performance.now();
    const cut = Promise.all(idle.map((socket) => once(socket, 'close')));
    process.kill(pid, 'SIGTERM');
    await cut;
    expect(performance.now() - began).toBeLessThan(3_000);
    await expect(connection()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const answer = await poll;
    expect(answer.status).toBe(held.status);
    expect(answer.headers.has('retry-after')).toBe(true);
    expect((await answer.json()) as Problem).toMatchObject({ code: held.code });

    expect(await sha256Of(download)).toBe(download.headers.etag);
    const posted = once(upload.http, 'response') as Promise<[IncomingMessage]>;
    upload.http.end(upload.rest);
    const [accepted] = await posted;
    const uid = (await json(accepted)) as string;
    expect([accepted.statusCode, accepted.headers.connection]).toEqual([200, 'close']);
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - began).toBeLessThan(10_000);

    await restart();
    await tasks.release(running);
    for (const each of [running, uid]) {
      expect(await tasks.resultOf(each)).toBe('fine\n');
      expect(await tasks.attemptsOf(each)).toEqual([
        { number: 1, outcome: 'finished', reason: null },
      ]);
      expect(tasks.startsOf(each)).toBe(1);
    }
  }, 60_000);

  it('ends at its grace all the same, and nothing is left', async () => {
    const output = await finishedTask(big);
    const { pid, ended } = await restart({ STOP_GRACE_S: '4' });
    await slowPost();
    const download = await slowGet(output);
    const began = performance.now();
    process.kill(pid, 'SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - began).toBeGreaterThan(2_000);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await apis[app]?.log()).not.toMatch(/"level":[56]0/);
    await expect(sha256Of(download)).rejects.toThrow();
    if (app === 'private-api') expect([await pendingBlobs(), await staged()]).toEqual([0, []]);
    const isClean = async () => (await pendingBlobs()) === 0 && (await staged()).length === 0;
    expect(await waitUntil(isClean, { timeoutMs: 5_000 })).toBe(true);
    await restart();
  }, 60_000);
});

async function finishedTask(script: string): Promise<string> {
  const uid = await tasks.post(script);
  const isFinished = async () => (await server.client.getTaskStatus(uid)).state === 'FINISHED';
  expect(await waitUntil(isFinished, { timeoutMs: 20_000 })).toBe(true);
  return uid;
}

it('a consumer that is stopped brings the output that is under way, and leaves what runs', async () => {
  const running = await tasks.post(untilReleased());
  await tasks.untilItRuns(running);
  const ended = await tasks.post('dd if=/dev/urandom of=/output/big bs=1M count=120');
  const isUnderWay = async () => (await pendingBlobs()) > 0;
  expect(await waitUntil(isUnderWay, { timeoutMs: 30_000, everyMs: 10 })).toBe(true);
  expect((await server.client.getTaskStatus(ended)).state).toBe('RUNNING');
  await consumer.stop();
  const attempt = { number: 1, outcome: 'finished', reason: null };
  expect(await tasks.attemptsOf(ended)).toEqual([attempt]);
  expect(await tasks.containersOf(running)).toBe(1);
  consumer = await server.startConsumer();
  await tasks.release(running);
  expect(await tasks.resultOf(running)).toBe('fine\n');
  for (const uid of [running, ended]) {
    expect(await tasks.attemptsOf(uid)).toEqual([attempt]);
    expect(tasks.startsOf(uid)).toBe(1);
  }
  await tasks.expectNothingLeft();
}, 90_000);

async function pendingBlobs(): Promise<number> {
  const rows = await server.database.query(`SELECT id FROM blobs WHERE state = 'pending'`);
  return rows.length;
}

async function staged(): Promise<string[]> {
  const names = await readdir(join(server.folder, 'storage'), { recursive: true });
  return names.filter((name) => name.endsWith('.part'));
}
