import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { rawExchange, waitUntil, type TestApp } from '@inference-server/testing';
import { brokenOff, slowBodies } from './hostile-http/broken-off.js';
import { formAttacks } from './hostile-http/forms.js';
import { framing } from './hostile-http/framing.js';
import { heads } from './hostile-http/heads.js';
import {
  model,
  zip,
  zipOf,
  type HostileRequest,
  type Target,
} from './hostile-http/hostile-request.js';
import { runServer, type RunningServer } from './running-server.js';

const pace = { MIN_UPLOAD_BYTES_PER_WINDOW: '2000', UPLOAD_WINDOW_S: '2' };

let server: RunningServer;
let apps: TestApp[];
/** Headers that come a byte at a time, begun with the file: they are given 30 s. */
/** Of public-api, while it had not been attacked yet. */
let connectionsBefore: number;
let slowHeaders: ReturnType<typeof rawExchange>[];

beforeAll(async () => {
  server = await runServer();
  apps = [
    await server.startPrivateApi(pace),
    await server.startPublicApi(pace),
    await server.startConsumer(),
  ];
  await server.postModel(model);
  connectionsBefore = await connectionsOf('public-api');
  slowHeaders = [server.publicApiUrl, server.privateApiUrl].map((url) =>
    rawExchange(
      Number(new URL(url).port),
      ['GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ', { drip: 'x', everyMs: 500 }],
      { expected: Infinity, withinMs: 45_000 },
    ),
  );
}, 60_000);

/** What a process has open: paths, and `socket:[…]` for connections. */
async function openIn(app: 'private-api' | 'public-api'): Promise<string[]> {
  const pid = apps[app === 'private-api' ? 0 : 1]?.pid;
  const names = await readdir(`/proc/${pid}/fd`);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
}

async function connectionsOf(app: 'private-api' | 'public-api'): Promise<number> {
  return (await openIn(app)).filter((target) => target.startsWith('socket:')).length;
}

/** What a request may leave behind: rows, blobs, files that uploads are received in, open ones. */
async function stored() {
  const [rows] = await server.database.query<
    Record<'tasks' | 'models' | 'blobs' | 'unstored', number>
  >(
    `SELECT (SELECT count(*)::int FROM tasks) AS tasks,
            (SELECT count(*)::int FROM models) AS models,
            (SELECT count(*)::int FROM blobs) AS blobs,
            (SELECT count(*)::int FROM blobs WHERE state <> 'stored') AS unstored`,
  );
  const files = async (folder: string) => {
    const entries = await readdir(join(server.folder, 'storage', folder), {
      recursive: true,
      withFileTypes: true,
    });
    return entries.filter((entry) => entry.isFile()).length;
  };
  if (rows === undefined) throw new Error('no rows');
  const open = (await openIn('private-api')).filter((path) => path.startsWith(server.folder));
  return {
    ...rows,
    files: await files('blobs'),
    received: await files('staging'),
    open: open.length,
  };
}

/** What was begun before is over: nobody runs a task any more. */
async function storedAtRest() {
  const quiet = async () => {
    const rows = await server.database.query(
      `SELECT uid FROM tasks WHERE state IN ('PENDING', 'QUEUED', 'RUNNING')`,
    );
    return rows.length === 0;
  };
  expect(await waitUntil(quiet, { timeoutMs: 15_000 })).toBe(true);
  return stored();
}

async function expectStored(before: Awaited<ReturnType<typeof stored>>): Promise<void> {
  let now = before;
  const same = async () => {
    now = await stored();
    return JSON.stringify(now) === JSON.stringify(before);
  };
  await waitUntil(same, { timeoutMs: 5_000 });
  expect(now).toEqual(before);
}

/** The one and its output; nothing of the upload is left over. */
async function expectOneTaskMore(before: Awaited<ReturnType<typeof stored>>): Promise<void> {
  expect(await storedAtRest()).toEqual({
    ...before,
    tasks: before.tasks + 1,
    blobs: before.blobs + 2,
    files: before.files + 2,
  });
}

/** The server is as useful as before: ready, and takes a task. */
async function expectService(): Promise<void> {
  const readiness = await fetch(`${server.publicApiUrl}/readyz`);
  expect(await readiness.json()).toMatchObject({ status: 'ready' });
  const uid = await server.client.postTask({ human_readable_id: model, zip });
  await server.client.deleteTask(uid);
}

async function expectTaskToRun(): Promise<void> {
  const script = zipOf('echo fine > /output/result');
  const uid = await server.client.postTask({ human_readable_id: model, zip: script });
  const { zip: output } = await server.client.waitForTask(uid, {
    signal: AbortSignal.timeout(25_000),
  });
  const archive = new AdmZip(Buffer.from(await new Response(output).arrayBuffer()));
  expect(archive.readAsText('result')).toBe('fine\n');
  await server.client.deleteTask(uid);
}

const stranger: Target = { headers: 'Host: localhost\r\n', consumerHeaders: '' };

function withTokens(token: string): Target {
  const bearing = (bearer: string) => `Host: localhost\r\nAuthorization: Bearer ${bearer}\r\n`;
  return { headers: bearing(token), consumerHeaders: bearing(consumerToken(token, 'x')) };
}

describe.each(['public-api', 'private-api'] as const)('%s', (hop) => {
  const fits = ({ only }: HostileRequest) => only === undefined || only === hop;

  async function attack({ steps, answers }: HostileRequest): Promise<void> {
    const url = hop === 'public-api' ? server.publicApiUrl : server.privateApiUrl;
    const closedByServer = answers.at(-1)?.[2] === 'last';
    const { answers: heard } = await rawExchange(
      Number(new URL(url).port),
      steps(hop === 'public-api' ? stranger : withTokens(server.token)),
      { expected: closedByServer ? Infinity : answers.length },
    );
    const seen = heard.map(({ status, code, isLast }) => [
      status,
      ...(code === undefined && !isLast ? [] : [code]),
      ...(isLast ? ['last'] : []),
    ]);
    expect(seen).toEqual(answers);
    for (const { status, body } of heard) {
      if (status >= 400) expect(body).not.toMatch(/[<>]|secret-name|smuggled|Bearer [a-z\d]/i);
    }
  }

  /** Each kind alone, with what it leaves. */
  const kinds = [...framing, ...heads, ...formAttacks, ...brokenOff].filter(fits);
  it.each(kinds.map((kind) => [kind.name, kind] as const))('%s', async (_name, kind) => {
    const before = await storedAtRest();
    await attack(kind);
    if (kind.stores) await expectOneTaskMore(before);
    else await expectStored(before);
    await expectService();
  });

  it('slow bodies of every kind, at the same time', async () => {
    const before = await storedAtRest();
    await Promise.all(slowBodies.filter(fits).map(attack));
    await expectStored(before);
    await expectService();
  });

  it('runs tasks after all of these', expectTaskToRun);
});

it('slow headers are cut after 30 s', async () => {
  for (const { answers } of await Promise.all(slowHeaders)) {
    expect(answers).toMatchObject([{ status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true }]);
  }
  await expectTaskToRun();
}, 60_000);

it('neither callers nor private-api are left connected', async () => {
  const few = async () => (await connectionsOf('public-api')) <= connectionsBefore;
  expect(await waitUntil(few, { timeoutMs: 20_000 })).toBe(true);
});

/** The names that strangers give to their files are theirs: only who debugs gets to see them. */
afterEach(async () => {
  for (const app of apps) {
    const lines = (await app.log()).split('\n').filter((line) => /"level":[3-6]0/.test(line));
    expect(lines.filter((line) => line.includes('secret-name'))).toEqual([]);
  }
});
