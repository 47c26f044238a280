import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tarEnd, tarHeader } from '@inference-server/archive';
import { AppError } from '@inference-server/errors';
import { needs } from '@inference-server/testing';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import { makeScriptImage } from './images.js';
import { readZip, scriptZip, zipOf, type Tree } from './zips.js';

let scene: AttemptScene;
let userImage: string;
let strangerImage: string;

beforeAll(async () => {
  scene = await openAttemptScene();
  const { own } = scene;
  userImage = await makeScriptImage(own.api, own.image, 'attempt-test:user', ['USER 1000:1000']);
  strangerImage = await makeScriptImage(own.api, own.image, 'attempt-test:stranger', [
    'USER nobody-knows',
  ]);
});

afterAll(() => scene.close());

describe('an attempt that finishes', () => {
  it('brings folders, empty folders, unicode names, modes and empty files both ways', async () => {
    const tree: Tree = {
      'folder/deep/file.txt': 'deep',
      'folder/empty/': '',
      'größe/日本語 ☃.txt': 'snow',
      'tool.sh': ['#!/bin/sh\necho tool ran', 0o755],
      'nothing.dat': '',
    };
    const { result, task } = await scene.run(
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
    const { running } = await scene.run('echo x > /output/x');
    expect(await running.cleaned).toBe(true);
    expect(await scene.traces()).toEqual([]);
    expect(await readdir(scene.bench.deps.settings.spoolFolder)).toEqual([]);
  });

  it('may have an empty output', async () => {
    const { result, task } = await scene.run('true');
    expect(result.kind).toBe('finished');
    expect(readZip(task.outputs[0]!)).toEqual({});
  });

  it('leaves links and special files out, with a line each', async () => {
    const { result, task } = await scene.run(
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
    const { result, task } = await scene.run(
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
    const { result, task } = await scene.run('ls -A /input > /output/input', { image: filled });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(readZip(task.outputs[0]!)).toEqual({ input: 'run.sh\n' });
  });

  it('runs as the user of the image, who can write to /output and not to /input', async () => {
    const script = 'id -u > /output/who; touch /input/x 2>/dev/null || echo no > /output/input';
    const { result, task } = await scene.run(script, { image: userImage });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(readZip(task.outputs[0]!)).toEqual({ who: '1000\n', input: 'no\n' });
  });

  it('keeps the end of a long log', async () => {
    const { result } = await scene.run('seq 100000');
    expect(result.log).toContain('\n100000\n');
    expect(result.log.length).toBeLessThan(11_000);
    expect(result.log).toContain('this is its end');
  });

  it('has the cores, the memory and the /dev/shm that its model needs', async () => {
    const look =
      'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max cpu.max; df -k /dev/shm | tail -n 1';
    const said = needs({ cpus: 0.5, memory_mib: 48, shm_mib: 3 });
    const { result } = await scene.run(look, { needs: said });
    expect(result.log).toMatch(new RegExp(`^${48 * 1024 ** 2}\\n50000`));
    expect(result.log).toMatch(/^\S+ +3072 /m);
  });

  it('keeps both streams in its log, and no NUL', async () => {
    const { result } = await scene.run('echo to-stderr >&2; printf "a\\000b\\n"');
    expect(result.log.split('\n').sort()).toEqual(['', 'a\uFFFDb', 'to-stderr']);
  });

  it('counts as finished when only a child was killed for memory', async () => {
    const { result } = await scene.run(
      '(head -c 200m /dev/zero | tail -n 1) || true; echo survived',
    );
    expect(result).toMatchObject({ kind: 'finished', exit_code: 0 });
  });

  it('begins a transfer again that breaks off', async () => {
    scene.api.breakDownloads(1);
    const { result } = await scene.run('true');
    expect(result.kind).toBe('finished');
  });
});

describe('an output that cannot be stored now', () => {
  it.each([
    new AppError('STORAGE_FULL', 'The storage of the server is full.'),
    new AppError('UPLOAD_TOO_SLOW', 'The body came with less than 1 bytes in 1 s.'),
    // Until the next renewal takes a lapsed lease up again.
    new AppError('CONFLICT', 'The lease is not current.'),
  ])('is brought again until it can: $code', async (refuseOutput) => {
    const task = scene.taskOf(scriptZip('cd /output; echo x > x; ln -s x link'), { refuseOutput });
    const running = await scene.bench.start(task);
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
    const { result, task } = await scene.run('echo why >&2; exit 3');
    expect(result).toMatchObject({ kind: 'failed', reason: 'exit_code', exit_code: 3 });
    expect(result.log).toBe('why\n');
    expect(task.outputs).toEqual([]);
  });

  it('for want of memory', async () => {
    // An engine may drop what it learns of a container that is gone: this one outlives the child.
    const { result } = await scene.run(
      'sleep 0.5; head -c 200m /dev/zero | tail -n 1; sleep 1; exit 1',
    );
    expect(result).toMatchObject({ kind: 'failed', reason: 'out_of_memory', exit_code: 1 });
  });

  it('by a kill that nobody tells the reason of', async () => {
    const { result } = await scene.run('exit 137');
    expect(result).toMatchObject({ kind: 'failed', reason: 'exit_code', exit_code: 137 });
    expect(result.detail).toContain('want of memory');
  });

  it('for taking too long', async () => {
    const { result } = await scene.run('echo begun; sleep 5', { timeoutS: 1 });
    expect(result).toMatchObject({ kind: 'failed', reason: 'timed_out' });
    expect(result.detail).toContain('1 s');
    expect(result.log).toBe('begun\n');
  });

  it('at its start, when its user does not exist', async () => {
    const { result } = await scene.run('true', { image: strangerImage });
    expect(result).toMatchObject({ kind: 'failed', reason: 'start_failed', exit_code: null });
    expect(result.detail).toContain('nobody-knows');
  });

  it('for want of an image, after the time for that', async () => {
    const started = performance.now();
    const { result } = await scene.run('true', { image: '127.0.0.1:9/absent:1' });
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
    const { result } = await scene.run('true', { image: `127.0.0.1:${port}/absent:1` });
    registry.close();
    registry.closeAllConnections();
    expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
  });

  it('for want of an image that must not be pulled', async () => {
    const { result } = await scene.run('true', { image: 'absent:1', pullPolicy: 'never' });
    expect(result).toMatchObject({ kind: 'failed', reason: 'image_unavailable' });
  });

  it('by too many files, or too many bytes', async () => {
    const many = await scene.run('cd /output; for i in $(seq 200); do touch $i; done');
    expect(many.result).toMatchObject({ kind: 'failed', reason: 'bad_output', exit_code: 0 });
    expect(many.result.detail).toContain('100');
    const large = await scene.run('head -c 20m /dev/zero > /output/large');
    expect(large.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    const tooLarge = await scene.run('true', {
      refuseOutput: new AppError('PAYLOAD_TOO_LARGE', 'too large'),
    });
    expect(tooLarge.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    const refused = await scene.run('true', {
      refuseOutput: new AppError('ZIP_REFUSED', 'The zip is refused: it holds too many entries.'),
    });
    expect(refused.result).toMatchObject({ kind: 'failed', reason: 'bad_output' });
    expect(refused.result.detail).toContain('too many entries');
  });

  it('by an input that no gate would have let through', async () => {
    const input = scriptZip('true', { 'a.txt': 'one', 'b.txt': 'two' });
    const twice = Buffer.from(input.toString('latin1').replaceAll('b.txt', 'a.txt'), 'latin1');
    const { result } = await scene.runInput(twice);
    expect(result).toMatchObject({ kind: 'failed', reason: 'bad_input' });
  });
});

describe('a fault', () => {
  it('is an input with another digest', async () => {
    const task = scene.taskOf(scriptZip('true'), {});
    task.input = zipOf({ 'run.sh': 'exit 0' });
    const running = await scene.bench.start(task);
    // The transfer is tried again until it is given up.
    expect(await task.settled).toMatchObject({ kind: 'fault', cause: 'upload_failed' });
    await running.cleaned;
  });

  it('is an upload that private-api fails at', async () => {
    const { result } = await scene.run('true', {
      refuseOutput: new AppError('INTERNAL', 'broken'),
    });
    expect(result).toMatchObject({ kind: 'fault', cause: 'upload_failed', exit_code: null });
  });

  it('is an output that was stored with another digest', async () => {
    const storedSha256 = 'a'.repeat(64);
    const { result, task } = await scene.run('echo x > /output/x', { storedSha256 });
    expect(task.outputs).toHaveLength(1);
    expect(result).toMatchObject({ kind: 'fault', exit_code: null });
    expect(result.detail).toContain('another digest');
  });

  it('is a container that somebody else has killed', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), {});
    const running = await scene.bench.start(task);
    await scene.untilRunning(task);
    await scene.own.api.call('POST', `/containers/${scene.containerOf(task)}/kill`);
    expect(await task.settled).toMatchObject({ kind: 'fault', exit_code: 137 });
    await running.cleaned;
  });
});

describe('what is left out of an output', () => {
  it('is told line by line, and from some number on only counted', async () => {
    const { result } = await scene.run('cd /output; for i in $(seq 90); do mkfifo $i; done');
    const lines = result.log.trimEnd().split('\n');
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe('[job-consumer] left out: … and 40 more');
  });
});

it('starts over when an earlier try holds a volume that has lost its labels', async () => {
  const task = scene.taskOf(scriptZip('ls /input > /output/list'), {});
  const names = scene.bench.names.attempt(task.uid, task.attempt);
  await scene.own.api.call('POST', '/volumes/create', { Name: names.name('input') });
  await scene.own.api.call('POST', `/containers/create?name=${names.name('stage')}`, {
    Image: scene.own.image,
    Labels: names.labels('stage'),
    HostConfig: { Binds: [`${names.name('input')}:/input`] },
  });
  const running = await scene.bench.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  await running.cleaned;
  expect(await scene.traces()).toEqual([]);
});

it('starts over when an earlier try has left its names taken', async () => {
  const task = scene.taskOf(scriptZip('ls /input > /output/list'), {});
  const names = scene.bench.names.attempt(task.uid, task.attempt);
  await scene.own.api.call('POST', '/volumes/create', {
    Name: names.name('input'),
    Labels: names.labels('input'),
  });
  await scene.own.api.call('POST', `/containers/create?name=${names.name('run')}`, {
    Image: scene.own.image,
    Labels: names.labels('run'),
  });
  const running = await scene.bench.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  await running.cleaned;
});

/** With files of its own in /input and /output. */
function makeFilledImage(): Promise<string> {
  const modified = new Date(0);
  const folders = ['input/', 'output/'].flatMap((name) => [
    tarHeader({ name, mode: 0o755, bytes: 0, modified }),
    tarHeader({ name: `${name}of-the-image`, mode: 0o644, bytes: 0, modified }),
  ]);
  const files = Readable.from([...folders, tarEnd], { objectMode: false });
  const { own } = scene;
  return makeScriptImage(own.api, own.image, 'attempt-test:filled', [], files);
}
