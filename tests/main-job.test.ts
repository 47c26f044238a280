import { setTimeout as sleep } from 'node:timers/promises';
import AdmZip from 'adm-zip';
import { beforeAll, describe, expect, it } from 'vitest';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from './running-server.js';

let server: RunningServer;
let privateApi: TestApp;

beforeAll(async () => {
  server = await runServer();
  privateApi = await server.startPrivateApi();
  await server.startPublicApi();
  await server.startConsumer();
  await server.postModel('script');
}, 60_000);

/** A task whose zip brings its own program. */
async function post(script: string, files: Record<string, string> = {}): Promise<string> {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(script));
  for (const [name, content] of Object.entries(files)) zip.addFile(name, Buffer.from(content));
  return server.client.postTask({ human_readable_id: 'script', zip: zip.toBuffer() });
}

async function outputOf(uid: string): Promise<AdmZip> {
  const { zip } = await server.client.waitForTask(uid, { signal: AbortSignal.timeout(25_000) });
  return new AdmZip(Buffer.from(await new Response(zip).arrayBuffer()));
}

async function failureOf(uid: string) {
  const failed = await server.client
    .waitForTask(uid, { signal: AbortSignal.timeout(25_000) })
    .then(() => undefined)
    .catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: 'TASK_FAILED' });
  return (failed as { extensions: { task: unknown } }).extensions.task;
}

const attemptsOf = (uid: string) =>
  server.database.query<{ number: number; outcome: string; consumer_id: string }>(
    'SELECT number, outcome, consumer_id FROM attempts WHERE task_uid = $1 ORDER BY number',
    [uid],
  );

const runsIn = async (uid: string) => {
  const containers = (await server.engine.api.call('GET', '/containers/json')) as {
    Labels: Record<string, string>;
  }[];
  return containers.some(({ Labels }) => Object.values(Labels).includes(uid));
};

async function expectNothingLeft(): Promise<void> {
  let left: unknown[] = [];
  const clean = async () => {
    left = await server.inEngine();
    return left.length === 0;
  };
  expect((await waitUntil(clean, { timeoutMs: 10_000 })) ? [] : left).toEqual([]);
}

describe('a task', () => {
  it('comes back as it was written: folders, names, modes, empty files', async () => {
    const uid = await post(
      `set -e; cd /output; mkdir -p a/b empty; cp /input/données/ä.txt 'a/b/größe 1.txt'
       : > nothing; printf '#!/bin/sh\\n' > tool; chmod 755 tool; ln -s /etc/passwd link
       echo done`,
      { 'données/ä.txt': 'content' },
    );
    const output = await outputOf(uid);
    const entries = output.getEntries().map((entry) => entry.entryName);
    expect(entries.sort()).toEqual(['a/', 'a/b/', 'a/b/größe 1.txt', 'empty/', 'nothing', 'tool']);
    expect(output.readAsText('a/b/größe 1.txt')).toBe('content');
    const modeOf = (name: string) => ((output.getEntry(name)?.header.attr ?? 0) >>> 16) & 0o111;
    expect([modeOf('tool') > 0, modeOf('nothing') > 0]).toEqual([true, false]);
    const log = await server.client.getTaskLog(uid);
    expect(log).toContain('done');
    expect(log).toMatch(/left out: symbolic link .*link/);
    await expectNothingLeft();
  });

  it('that fails says how: exit code and the last lines', async () => {
    const uid = await post('echo first; echo "what went wrong" >&2; exit 3');
    expect(await failureOf(uid)).toMatchObject({
      state: 'FAILED',
      reason: 'exit_code',
      exit_code: 3,
      log_tail: expect.arrayContaining(['first', 'what went wrong']) as unknown,
    });
  });

  it('that takes too much memory says so', async () => {
    // In a child that the container outlives: of one that ends with it the engine may not tell.
    const uid = await post(`sh -c 'x=a; while :; do x="$x$x"; done'; sleep 1; exit 1`);
    expect(await failureOf(uid)).toMatchObject({ reason: 'out_of_memory', out_of_memory: true });
  });

  it('of a model whose image is not to be had fails with that reason', async () => {
    // A registry that does not answer is no reason yet, but one for other attempts.
    await server.client.postModel({
      human_readable_id: 'absent',
      container_tag: 'inference-server-test/absent:1',
      pull_policy: 'never',
    });
    const zip = new AdmZip();
    zip.addFile('a', Buffer.from('b'));
    const uid = await server.client.postTask({ human_readable_id: 'absent', zip: zip.toBuffer() });
    expect(await failureOf(uid)).toMatchObject({ reason: 'image_unavailable' });
  });

  it('sees no network, and its input read-only', async () => {
    const uid = await post(
      `ls /sys/class/net > /output/net; touch /input/x 2>/dev/null && echo writable > /output/bad
       grep CapEff /proc/self/status > /output/caps`,
    );
    const output = await outputOf(uid);
    expect(output.readAsText('net').trim()).toBe('lo');
    expect(output.getEntry('bad')).toBeNull();
    expect(output.readAsText('caps')).toMatch(/CapEff:\s+0+\n/);
  });

  it('runs beside another where there are two slots, and the third waits', async () => {
    const script =
      'date +%s.%N; cut -d" " -f1 /proc/uptime > /output/start; sleep 1.5; cut -d" " -f1 /proc/uptime > /output/end';
    const outputs = await Promise.all(
      (await Promise.all([1, 2, 3].map(() => post(script)))).map(outputOf),
    );
    const spans = outputs
      .map(
        (output) => [Number(output.readAsText('start')), Number(output.readAsText('end'))] as const,
      )
      .sort(([a], [b]) => a - b);
    const [first, second, third] = spans;
    expect(second?.[0]).toBeLessThan(first?.[1] ?? 0);
    expect(third?.[0]).toBeGreaterThanOrEqual(Math.min(first?.[1] ?? 0, second?.[1] ?? 0));
  });

  it('that is deleted while it runs is stopped and removed', async () => {
    const uid = await post('sleep 60');
    expect(await waitUntil(() => runsIn(uid), { timeoutMs: 10_000 })).toBe(true);
    await server.client.deleteTask(uid);
    await expectNothingLeft();
    await expect(server.client.getTask(uid)).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' });
  });

  it('outlives a restart of private-api: one attempt, one container', async () => {
    const uid = await post('sleep 3; echo fine > /output/result');
    expect(await waitUntil(() => runsIn(uid), { timeoutMs: 10_000 })).toBe(true);
    await privateApi.kill();
    await sleep(500);
    privateApi = await server.startPrivateApi();
    expect((await outputOf(uid)).readAsText('result')).toBe('fine\n');
    expect(await attemptsOf(uid)).toMatchObject([{ number: 1, outcome: 'finished' }]);
  });
});
