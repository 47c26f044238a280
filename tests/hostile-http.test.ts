import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { rawExchange, waitUntil, type TestApp } from '@inference-server/testing';
import { brokenOff, slowBodies } from './hostile-http/broken-off.js';
import { formAttacks } from './hostile-http/forms.js';
import { framing } from './hostile-http/framing.js';
import { heads } from './hostile-http/heads.js';
import { model, zip, type HostileRequest, type Target } from './hostile-http/hostile-request.js';
import { runServer, type RunningServer } from './running-server.js';
import { expectTaskToRun, noSweeps, openIn, tracesOf, type Stored, type Traces } from './traces.js';

const pace = { MIN_UPLOAD_BYTES_PER_WINDOW: '2000', UPLOAD_WINDOW_S: '2' };

let server: RunningServer;
let apps: [privateApi: TestApp, publicApi: TestApp, consumer: TestApp];
let traces: Traces;
/** Of public-api, while it had not been attacked yet. */
let connectionsBefore: number;
/** Headers that come a byte at a time, begun with the file: they are given 30 s. */
let slowHeaders: ReturnType<typeof rawExchange>[];

beforeAll(async () => {
  server = await runServer();
  apps = [
    await server.startPrivateApi({ ...pace, ...noSweeps }),
    await server.startPublicApi(pace),
    await server.startConsumer(),
  ];
  traces = tracesOf(server, apps[0]);
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

const connectionsOf = async (app: 'private-api' | 'public-api'): Promise<number> => {
  const open = await openIn(apps[app === 'private-api' ? 0 : 1]);
  return open.filter((target) => target.startsWith('socket:')).length;
};

/** The one and its output; nothing of the upload is left over. */
async function expectOneTaskMore(before: Stored): Promise<void> {
  expect(await traces.atRest()).toEqual({
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
    const before = await traces.atRest();
    await attack(kind);
    if (kind.stores) await expectOneTaskMore(before);
    else await traces.expect(before);
    await expectService();
  });

  it('slow bodies of every kind, at the same time', async () => {
    const before = await traces.atRest();
    await Promise.all(slowBodies.filter(fits).map(attack));
    await traces.expect(before);
    await expectService();
  });

  it('runs tasks after all of these', () => expectTaskToRun(server, model));
});

it('slow headers are cut after 30 s', async () => {
  for (const { answers } of await Promise.all(slowHeaders)) {
    expect(answers).toMatchObject([{ status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true }]);
  }
  await expectTaskToRun(server, model);
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
