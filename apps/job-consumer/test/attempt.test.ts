import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tarEnd, tarHeader } from '@inference-server/archive';
import { AppError } from '@inference-server/errors';
import type { AttemptResult } from '@inference-server/contracts';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { createAttemptBench, type AttemptBench } from './attempt-bench.js';
import { makeScriptImage } from './images.js';
import { startTestPrivateApi, type TestPrivateApi, type TestTask } from './test-private-api.js';
import { readZip, scriptZip, zipOf, type Tree } from './zips.js';

let own: TestEngine;
let api: TestPrivateApi;
let bench: AttemptBench;
let image: string;
let userImage: string;
let strangerImage: string;

beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  image = await makeScriptImage(own.api, own.image, 'attempt-test:root');
  userImage = await makeScriptImage(own.api, own.image, 'attempt-test:user', ['USER 1000:1000']);
  strangerImage = await makeScriptImage(own.api, own.image, 'attempt-test:stranger', [
    'USER nobody-knows',
  ]);
  bench = await createAttemptBench({ ...own, api });
});

afterAll(() => bench.close());

describe('an attempt that finishes', () => {
  it('brings folders, empty folders, unicode names, modes and empty files both ways', async () => {
    const tree: Tree = {
      'folder/deep/file.txt': 'deep',
      'folder/empty/': '',
      'größe/日本語 ☃.txt': 'snow',
      'tool.sh': ['#!/bin/sh\necho tool ran', 0o755],
      'nothing.dat': '',
    };
    const { result, task } = await run(
      `cp -r /input/. /output/ && rm /output/run.sh && /input/tool.sh > /output/said.txt`,
      { tree },
    );
    expect(result).toMatchObject({ kind: 'finished', exit_code: 0 });
    expect(readZip(task.outputs[0]!)).toEqual({
      'folder/': null,
      'folder/deep/': null,
      'folder/deep/file.txt': 'deep',
      'folder/empty/': null,
      'größe/': null,
      'größe/日本語 ☃.txt': 'snow',
      'nothing.dat': '',
      'said.txt': 'tool ran\n',
      'tool.sh': 'x:#!/bin/sh\necho tool ran',
    });
  });

  it('leaves nothing in the engine and in the spool folder', async () => {
    const { running } = await run('echo x > /output/x');
    expect(await running.cleaned).toBe(true);
    expect(await traces()).toEqual([]);
    expect(await readdir(bench.deps.settings.spoolFolder)).toEqual([]);
  });

  it('may have an empty output', async () => {
    const { result, task } = await run('true');
    expect(result.kind).toBe('finished');
    expect(readZip(task.outputs[0]!)).toEqual({});
  });

  it('leaves links and special files out, with a line each', async () => {
    const { result, task } = await run(
      'cd /output; echo a > a; ln -s /etc/passwd secret; ln -s a near; mkfifo pipe',
    );
    expect(result.kind).toBe('finished');
    expect(Object.keys(readZip(task.outputs[0]!))).toHaveLength(1);
    expect(result.log).toContain('left out: symbolic link secret');
    expect(result.log).toContain('left out: symbolic link near');
    expect(result.log).toContain('left out: fifo pipe');
  });

  it('keeps hard links, each as a file of its own', async () => {
    // More than fits on the way: the links are met while the engine still sends.
    const { result, task } = await run(
      'mkdir /output/in; cd /output; echo same > a; chmod +x a; ln a b; ln a in/c; ' +
        'head -c 3m /dev/urandom > d; ln d e; head -c 3m /dev/urandom > f',
    );
    expect(result).toMatchObject({ kind: 'finished', log: '' });
    const { d, e, f, ...small } = readZip(task.outputs[0]!);
    expect(small).toEqual({ a: 'x:same\n', b: 'x:same\n', 'in/': null, 'in/c': 'x:same\n' });
    expect(e === d).toBe(true);
    expect(e === f).toBe(false);
  });

  it('sees nothing of what its image has where the volumes are', async () => {
    const filled = await makeFilledImage();
    const { result, task } = await run('ls -A /input > /output/input', { image: filled });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(readZip(task.outputs[0]!)).toEqual({ input: 'run.sh\n' });
  });

  it('runs as the user of the image, who can write to /output and not to /input', async () => {
    const script = 'id -u > /output/who; touch /input/x 2>/dev/null || echo no > /output/input';
    const { result, task } = await run(script, { image: userImage });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(readZip(task.outputs[0]!)).toEqual({ who: '1000\n', input: 'no\n' });
  });

  it('keeps the end of a long log', async () => {
    const { result } = await run('seq 100000');
    expect(result.log).toContain('\n100000\n');
    expect(result.log.length).toBeLessThan(11_000);
    expect(result.log).toContain('this is its end');
  });

  it('keeps both streams in its log, and no NUL', async () => {
    const { result } = await run('echo to-stderr >&2; printf "a\\000b\\n"');
    expect(result.log.split('\n').sort()).toEqual(['', 'a\uFFFDb', 'to-stderr']);
  });

  it('counts as finished when only a child was killed for memory', async () => {
    const { result } = await run('(head -c 200m /dev/zero | tail -n 1) || true; echo survived');
    expect(result).toMatchObject({ kind: 'finished', exit_code: 0 });
  });

  it('begins a transfer again that breaks off', async () => {
    api.breakDownloads(1);
    const { result } = await run('true');
    expect(result.kind).toBe('finished');
  });
});

describe('an output that cannot be stored now', () => {
  it.each([
    new AppError('STORAGE_FULL', 'The storage of the server is full.'),
    new AppError('UPLOAD_TOO_SLOW', 'The body came with less than 1 bytes in 1 s.'),
  ])('is brought again until it can: $code', async (refuseOutput) => {
    const task = taskOf(scriptZip('cd /output; echo x > x; ln -s x link'), { refuseOutput });
    const running = await bench.start(task);
    await expect.poll(() => task.refusals, { timeout: 10_000 }).toBeGreaterThan(1);
    delete task.refuseOutput;
    const result = await task.settled;
    expect(result).toMatchObject({ kind: 'finished' });
    expect(result.log.match(/left out/g)).toHaveLength(1);
    await running.cleaned;
  });
});

describe('a model that fails', () => {
  it('by its exit code, with its log', async () => {
    const { result, task } = await run('echo why >&2; exit 3');
    expect(result).toMatchObject({ kind: 'failed', reason: 'exit_code', exit_code: 3 });
    expect(result.log).toBe('why\n');
    expect(task.outputs).toEqual([]);
  });

  it('for want of memory', async () => {
    const { result } = await run('head -c 200m /dev/zero | tail -n 1; exit 1');
    expect(result).toMatchObject({ kind: 'failed', reason: 'out_of_memory', exit_code: 1 });
  });

  it('for taking too long', async () => {
    const { result } = await run('echo begun; sleep 100', { timeoutS: 1 });
    expect(result).toMatchObject({ kind: 'failed', reason: 'timed_out' });
    expect(result.detail).toContain('1 s');
    expect(result.log).toBe('begun\n');
  });

  it('at its start, when its user does not exist', async () => {
    const { result } = await run('true', { image: strangerImage });
    expect(result).toMatchObject({ kind: 'failed', reason: 'start_failed', exit_code: null });
    expect(result.detail).toContain('nobody-knows');
  });

  it('for want of an image, after the time for that', async () => {
    const started = performance.now();
    const { result } = await run('true', { image: '127.0.0.1:9/absent:1' });
    // Another consumer, or another time, may find the registry there.
    expect(result).toMatchObject({ kind: 'fault', cause: 'registry_away' });
    expect(result.detail).toContain('127.0.0.1:9/absent:1');
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('for an image that its registry does not have', async () => {
    const registry = createServer((request, response) => {
      response.writeHead(request.url === '/v2/' ? 200 : 404, {
        'content-type': 'application/json',
      });
      response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
    });
    registry.listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    const { result } = await run('true', { image: `127.0.0.1:${port}/absent:1` });
    registry.close();
    registry.closeAllConnections();
    expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
  });

  it('for want of an image that must not be pulled', async () => {
    const { result } = await run('true', { image: 'absent:1', pullPolicy: 'never' });
    expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
  });

  it('by too many files, or too many bytes', async () => {
    const many = await run('cd /output; for i in $(seq 200); do touch $i; done');
    expect(many.result).toMatchObject({ kind: 'failed', reason: 'bad_output', exit_code: 0 });
    expect(many.result.detail).toContain('100');
    const large = await run('head -c 20m /dev/zero > /output/large');
    expect(large.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    const tooLarge = await run('true', {
      refuseOutput: new AppError('PAYLOAD_TOO_LARGE', 'too large'),
    });
    expect(tooLarge.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    const refused = await run('true', {
      refuseOutput: new AppError('ZIP_REFUSED', 'The zip is refused: it holds too many entries.'),
    });
    expect(refused.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    expect(refused.result.detail).toContain('too many entries');
  });

  it('by an input that no gate would have let through', async () => {
    const input = scriptZip('true', { 'a.txt': 'one', 'b.txt': 'two' });
    const twice = Buffer.from(input.toString('latin1').replaceAll('b.txt', 'a.txt'), 'latin1');
    const { result } = await runInput(twice);
    expect(result).toMatchObject({ kind: 'failed', reason: 'bad_input' });
  });
});

describe('a fault', () => {
  it('is an input with another digest', async () => {
    const task = taskOf(scriptZip('true'), {});
    task.input = zipOf({ 'run.sh': 'exit 0' });
    const running = await bench.start(task);
    // The transfer is tried again until it is given up.
    expect(await task.settled).toMatchObject({ kind: 'fault' });
    await running.cleaned;
  });

  it('is an upload that private-api fails at', async () => {
    const { result } = await run('true', { refuseOutput: new AppError('INTERNAL', 'broken') });
    expect(result).toMatchObject({ kind: 'fault', exit_code: null });
  });

  it('is an output that was stored with another digest', async () => {
    const storedSha256 = 'a'.repeat(64);
    const { result, task } = await run('echo x > /output/x', { storedSha256 });
    expect(task.outputs).toHaveLength(1);
    expect(result).toMatchObject({ kind: 'fault', exit_code: null });
    expect(result.detail).toContain('another digest');
  });

  it('is a container that somebody else has killed', async () => {
    const task = taskOf(scriptZip('sleep 100'), {});
    const running = await bench.start(task);
    await untilRunning(task);
    await own.api.call('POST', `/containers/${containerOf(task)}/kill`);
    expect(await task.settled).toMatchObject({ kind: 'fault', exit_code: 137 });
    await running.cleaned;
  });
});

describe('what is left out of an output', () => {
  it('is told line by line, and from some number on only counted', async () => {
    const { result } = await run('cd /output; for i in $(seq 90); do mkfifo $i; done');
    const lines = result.log.trimEnd().split('\n');
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe('[job-consumer] left out: … and 40 more');
  });
});

describe('an attempt that is ended from outside', () => {
  it('is given back when a consumer stops that hands nothing over', async () => {
    const task = taskOf(
      scriptZip('trap "echo stopping; exit 0" TERM; echo up; while true; do sleep 0.1; done'),
      {},
    );
    const running = await bench.start(task, { handsOver: false });
    await expect.poll(() => logOf(task), { timeout: 10_000 }).toBe('up\n');
    running.leave();
    const result = await task.settled;
    expect(result).toMatchObject({ kind: 'released', exit_code: null });
    expect(result.log).toBe('up\nstopping\n');
    expect(await running.cleaned).toBe(true);
    expect(await traces()).toEqual([]);
  });

  it('is parked when the consumer stops, its container left as it is', async () => {
    const task = taskOf(scriptZip('echo up; sleep 100'), {});
    const running = await bench.start(task);
    await expect.poll(() => logOf(task), { timeout: 10_000 }).toBe('up\n');
    running.leave();
    expect(await running.cleaned).toBe(true);
    expect(task).toMatchObject({ parked: true, settlements: [] });
    const [left] = await containersOf(task);
    expect(left).toMatchObject({ state: 'running' });
    await removeAll(task);
  });

  it('touches nothing when it was adopted', async () => {
    const task = taskOf(scriptZip('sleep 100'), {});
    const running = await bench.start(task);
    await untilRunning(task);
    task.epoch += 1;
    expect(await running.cleaned).toBe(true);
    expect(task).toMatchObject({ parked: false, settlements: [] });
    expect(await containersOf(task)).toMatchObject([{ state: 'running' }]);
    await removeAll(task);
  });

  it('is stopped and removed when the task is cancelled, and then says so', async () => {
    const task = taskOf(
      scriptZip('trap "exit 0" TERM; echo up; while true; do sleep 0.1; done'),
      {},
    );
    const running = await bench.start(task);
    await expect.poll(() => logOf(task), { timeout: 10_000 }).toBe('up\n');
    const gone = task.settled.then(() => containersOf(task));
    task.cancelRequested = true;
    expect(await task.settled).toMatchObject({ kind: 'cancelled' });
    expect(await gone).toEqual([]);
    await running.cleaned;
    expect(await traces()).toEqual([]);
  });

  it('is cancelled too when the cancel comes between the output and the settlement', async () => {
    const task = taskOf(scriptZip('echo done > /output/a'), {});
    // As if the news had not come through: only the settlement is refused.
    Object.defineProperty(task, 'cancelRequested', { get: () => task.outputs.length > 0 });
    const running = await bench.start(task);
    expect(await task.settled).toMatchObject({ kind: 'cancelled' });
    await running.cleaned;
    expect(await traces()).toEqual([]);
  });

  it('removes its container when superseded, and settles nothing', async () => {
    const task = taskOf(scriptZip('sleep 100'), {});
    const running = await bench.start(task);
    await untilRunning(task);
    task.isSuperseded = true;
    await running.settled;
    expect(await running.cleaned).toBe(true);
    expect(task.settlements).toEqual([]);
    expect(await traces()).toEqual([]);
  });

  it('renews its lease while it runs, also after an outage of private-api', async () => {
    const task = taskOf(scriptZip('sleep 3'), {});
    const running = await bench.start(task);
    await expect.poll(() => task.renewals).toBeGreaterThan(0);
    await untilRunning(task);
    api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const before = task.renewals;
    api.away = false;
    await expect.poll(() => task.renewals, { timeout: 5_000 }).toBeGreaterThan(before);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await running.cleaned;
  });

  it('settles again until it is answered', async () => {
    const task = taskOf(scriptZip('exit 9'), {});
    const running = await bench.start(task);
    await untilRunning(task);
    api.away = true;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    api.away = false;
    expect(await task.settled).toMatchObject({ kind: 'failed', exit_code: 9 });
    await running.cleaned;
  });
});

it('starts over when an earlier try has left its names taken', async () => {
  const task = taskOf(scriptZip('ls /input > /output/list'), {});
  const names = bench.names.attempt(task.uid, task.attempt);
  await own.api.call('POST', '/volumes/create', {
    Name: names.name('input'),
    Labels: names.labels('input'),
  });
  await own.api.call('POST', `/containers/create?name=${names.name('run')}`, {
    Image: own.image,
    Labels: names.labels('run'),
  });
  const running = await bench.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  await running.cleaned;
});

const signal = new AbortController().signal;

/** With files of its own in /input and /output. */
function makeFilledImage(): Promise<string> {
  const modified = new Date(0);
  const folders = ['input/', 'output/'].flatMap((name) => [
    tarHeader({ name, mode: 0o755, bytes: 0, modified }),
    tarHeader({ name: `${name}of-the-image`, mode: 0o644, bytes: 0, modified }),
  ]);
  const files = Readable.from([...folders, tarEnd], { objectMode: false });
  return makeScriptImage(own.api, own.image, 'attempt-test:filled', [], files);
}

interface RunOptions {
  image?: string;
  tree?: Tree;
  timeoutS?: number;
  pullPolicy?: 'missing' | 'never';
  refuseOutput?: AppError;
  storedSha256?: string;
}

function taskOf(input: Buffer, options: RunOptions): TestTask {
  const task = api.addTask({
    input,
    work: {
      container_tag: options.image ?? image,
      timeout_s: options.timeoutS ?? null,
      pull_policy: options.pullPolicy ?? 'missing',
    },
  });
  if (options.refuseOutput !== undefined) task.refuseOutput = options.refuseOutput;
  if (options.storedSha256 !== undefined) task.storedSha256 = options.storedSha256;
  return task;
}

function run(script: string, options: RunOptions = {}) {
  return runInput(scriptZip(script, options.tree), options);
}

async function runInput(input: Buffer, options: RunOptions = {}) {
  const task = taskOf(input, options);
  const running = await bench.start(task);
  const result: AttemptResult = await task.settled;
  await running.cleaned;
  return { task, running, result };
}

function containerOf(task: TestTask): string {
  return bench.names.attempt(task.uid, task.attempt).name('run');
}

async function containersOf(task: TestTask) {
  const { all } = bench.names.attempt(task.uid, task.attempt);
  const found = await bench.engine.listContainers(all, signal);
  return found.filter(({ name }) => name === containerOf(task));
}

/** What an attempt has left for another to go on with. */
async function removeAll(task: TestTask): Promise<void> {
  const { all } = bench.names.attempt(task.uid, task.attempt);
  for (const { id } of await bench.engine.listContainers(all, signal)) {
    await bench.engine.removeContainer(id, signal);
  }
  for (const { name } of await bench.engine.listVolumes(all, signal)) {
    await bench.engine.removeVolume(name, signal);
  }
}

async function untilRunning(task: TestTask): Promise<void> {
  const state = async () => (await bench.engine.inspectContainer(containerOf(task), signal))?.state;
  await expect.poll(state, { timeout: 10_000, interval: 50 }).toMatch(/running|exited/);
}

async function logOf(task: TestTask): Promise<string> {
  const limits = { maxBytes: 1000, maxLines: 100 };
  try {
    return (await bench.engine.readLogs(containerOf(task), limits, signal)).text;
  } catch {
    return '';
  }
}

async function traces(): Promise<string[]> {
  const objects = await own.api.listObjects();
  return objects
    .filter(({ labels }) => Object.values(labels).includes(own.installationId))
    .map(({ kind, name }) => `${kind} ${name}`);
}
