import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { hostileOutputs, outputLimits, type HostileOutput } from './hostile-outputs.js';
import { runServer, type RunningServer } from './running-server.js';

let server: RunningServer;
let apps: TestApp[];
const posted: string[] = [];
/** What is there while nothing runs. */
let atRest: Awaited<ReturnType<typeof traces>>;

beforeAll(async () => {
  server = await runServer(outputLimits);
  const privateApi = await server.startPrivateApi();
  const publicApi = await server.startPublicApi();
  apps = [privateApi, publicApi, await server.startConsumer()];
  await server.postModel('script');
  atRest = await traces();
}, 60_000);

// What a test that failed has left running would fail all others.
afterEach(async () => {
  for (const uid of posted.splice(0)) await server.client.deleteTask(uid).catch(() => undefined);
});

describe('what a container leaves:', () => {
  it.each(hostileOutputs.map((hostile, at) => ({ ...hostile, at })))(
    '$what',
    async ({ at, ...hostile }) => {
      const uid = await post(hostile.script, hostile.files);
      const outcome = await outcomeOf(uid);
      if (hostile.failed === undefined) {
        expectOutput(outcome, hostile);
      } else {
        const { reason, detail } = hostile.failed;
        expect(outcome).toMatchObject({ reason, detail: expect.stringMatching(detail) as string });
      }
      const log = await server.client.getTaskLog(uid);
      expect(log.length).toBeLessThan(300_000);
      if (hostile.log !== undefined) expect(log).toMatch(hostile.log);
      expect(leftOutIn(log)).toEqual([...(hostile.leftOut ?? [])].sort());
      await server.client.deleteTask(uid);
      await expectAtRest();
      if (at % 5 === 4) await expectNormalTask();
    },
    240_000,
  );

  it('the server then runs a task as ever', async () => {
    await expectNormalTask();
  });
});

describe('names of files', () => {
  it('stand in the log of the task, never in the log of a process', async () => {
    const name = 'Pat1ent';
    const scripts = [
      `cp /input/${name}.dcm /output/; ln -s x /output/${name}-link; ln /output/${name}.dcm /output/${name}2`,
      `cd /output; touch "${name}$(printf '\\303\\251')" "${name}$(printf 'e\\314\\201')"`,
      `cd /output; touch ${name}; for i in $(seq 1100); do ln ${name} ${name}$i; done`,
      `cat /input/${name}.absent`,
    ];
    for (const script of scripts) {
      const uid = await post(script, { [`${name}.dcm`]: Buffer.from('x') });
      await outcomeOf(uid);
      if (script === scripts[0]) expect(await server.client.getTaskLog(uid)).toContain(name);
      await server.client.deleteTask(uid);
      await expectAtRest();
      const shown = (await Promise.all(apps.map(shownLines))).flat();
      expect(shown.join()).toContain('an attempt ended');
      expect(shown.filter((line) => line.includes(name))).toEqual([]);
    }
  }, 60_000);
});

/** What the app has logged of late at level info and above. */
async function shownLines(app: TestApp): Promise<string[]> {
  const lines = (await app.log()).split('\n').filter((line) => line.startsWith('{'));
  return lines.filter((line) => (JSON.parse(line) as { level: number }).level >= 30);
}

async function post(script: string, files: Record<string, Buffer> = {}): Promise<string> {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(script));
  for (const [name, content] of Object.entries(files)) zip.addFile(name, content);
  const uid = await server.client.postTask({ human_readable_id: 'script', zip: zip.toBuffer() });
  posted.push(uid);
  return uid;
}

type Outcome = { zip: AdmZip } | { reason: unknown; detail: string };

async function outcomeOf(uid: string): Promise<Outcome> {
  try {
    const { zip } = await server.client.waitForTask(uid, { signal: AbortSignal.timeout(200_000) });
    return { zip: new AdmZip(Buffer.from(await new Response(zip).arrayBuffer())) };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'TASK_FAILED') throw error;
    return { reason: error.extensions.task?.reason, detail: error.message };
  }
}

function expectOutput(outcome: Outcome, { output = {} }: HostileOutput): void {
  if (!('zip' in outcome)) expect.unreachable(`${String(outcome.reason)}: ${outcome.detail}`);
  const entries = outcome.zip.getEntries();
  expect(entries.map(({ entryName }) => entryName).sort()).toEqual(Object.keys(output).sort());
  for (const entry of entries) {
    const expected = output[entry.entryName];
    const content = entry.getData().toString('latin1');
    if (typeof expected === 'function') expect(expected(content), entry.entryName).toBe(true);
    else expect(content).toBe(expected ?? '');
    // Nothing above the usual rights, whatever the container gave.
    expect((entry.header.attr >>> 16) & 0o7000).toBe(0);
  }
}

function leftOutIn(log: string): string[] {
  return [...log.matchAll(/^\[job-consumer\] (left out: .*)$/gm)]
    .map(([, line = '']) => line)
    .sort();
}

async function expectNormalTask(): Promise<void> {
  const uid = await post('cat /input/in.txt > /output/out.txt', { 'in.txt': Buffer.from('hello') });
  expectOutput(await outcomeOf(uid), { what: '', script: '', output: { 'out.txt': 'hello' } });
  await server.client.deleteTask(uid);
  await expectAtRest();
}

/** All that tasks could leave behind, but for the rows of those that were deleted. */
async function traces() {
  const [rows] = await server.database.query<{ tasks: number; blobs: number }>(
    `SELECT (SELECT count(*)::int FROM tasks WHERE deleted_at IS NULL) AS tasks,
            (SELECT count(*)::int FROM blobs) AS blobs`,
  );
  return {
    rows,
    stored: await filesIn(join(server.folder, 'storage')),
    spooled: await filesIn(join(server.folder, 'work')),
    inEngine: (await server.inEngine()).map(({ kind, name }) => `${kind} ${name}`),
  };
}

async function filesIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map(({ name }) => name);
}

/** The consumer cleans up behind the answer. */
async function expectAtRest(): Promise<void> {
  let found = atRest;
  const isAtRest = async () => {
    found = await traces();
    return JSON.stringify(found) === JSON.stringify(atRest);
  };
  if (!(await waitUntil(isAtRest, { timeoutMs: 60_000 }))) expect(found).toEqual(atRest);
}
