import { execFile } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tarEnd } from '@inference-server/archive';
import { testFolder, whenFileEnds } from '@inference-server/testing';
import { openAttemptScene, type AttemptScene } from '../attempt-scene.js';
import { makeScriptImage } from '../images.js';

let scene: AttemptScene;

beforeAll(async () => {
  scene = await openAttemptScene();
});

afterAll(() => scene.close());

describe('an image that no engine starts fails by itself', () => {
  it.each([
    ['a volume in /input', ['VOLUME /input/data'], /read-only file system/],
    ['a volume deep in /input', ['VOLUME /input/a/b'], /read-only file system/],
    ['a volume in /proc', ['VOLUME /proc/x'], /\/proc/],
    ['a user that has too high a number', ['USER 99999999999'], /range/],
    ['a user that has none', ['USER -5'], /range/],
    ['a user that it does not know', ['USER nobody-knows'], /nobody-knows/],
    ['a group that it does not know', ['USER 0:nobody-knows'], /nobody-knows/],
    ['a working folder where there is none', ['WORKDIR /proc/x'], /\/proc\/x/],
    ['a volume in place of its users', ['VOLUME /etc/passwd'], /passwd/],
  ])('for %s', async (what, changes, said) => {
    await expectStartFailed(await makeImage(what, changes), said);
  });

  it.each([
    ['output', '/proc/self', /\/output/],
    ['output', '/output', /\/output/],
    ['input', '/proc', /\/input/],
    ['sbin', '/sbin', /\/sbin/],
  ])('for its /%s, a link to %s', async (name, target, said) => {
    const files = await tarOfLink(name, target);
    await expectStartFailed(await makeImage(`${name}-${target}`, [], files), said);
  });

  it('for a volume where it has a file', async () => {
    const image = await makeImage('file', ['VOLUME /data'], await tarOfFile('data'));
    await expectStartFailed(image, /existing file/);
  });

  it('for want of a command', async () => {
    const image = 'start-test:empty';
    const nothing = Readable.from([tarEnd], { objectMode: false });
    await scene.bench.engine.importImage(image, nothing, new AbortController().signal);
    whenFileEnds(
      'empty image',
      async () => void (await scene.own.api.call('DELETE', `/images/${image}`)),
    );
    await expectStartFailed(image, /No command/i);
  });
});

it('an image with a file where the consumer fills volumes runs', async () => {
  const image = await makeImage('staging', [], await tarOfFile('inference-server-staging'));
  const { result } = await scene.run('cp /input/run.sh /output/', { image });
  expect(result).toMatchObject({ kind: 'finished' });
});

function makeImage(what: string, changes: readonly string[], files?: Readable): Promise<string> {
  const { own } = scene;
  const tag = `start-test:${what.replace(/\W+/g, '-')}`;
  return makeScriptImage(own.api, own.image, tag, changes, files);
}

async function expectStartFailed(image: string, said: RegExp): Promise<void> {
  const { result } = await scene.run('true', { image });
  expect(result).toMatchObject({ kind: 'failed', reason: 'start_failed', exit_code: null });
  expect(result.detail).toContain('USER');
  expect(result.detail).toMatch(said);
  expect(await scene.traces()).toEqual([]);
}

async function tarOfFile(name: string): Promise<Readable> {
  const folder = await testFolder();
  await writeFile(join(folder, name), 'a file');
  return tarOf(folder, name);
}

async function tarOfLink(name: string, target: string): Promise<Readable> {
  const folder = await testFolder();
  await symlink(target, join(folder, name));
  return tarOf(folder, name);
}

async function tarOf(folder: string, name: string): Promise<Readable> {
  const { stdout } = await promisify(execFile)('tar', ['-c', '-C', folder, name], {
    encoding: 'buffer',
  });
  return Readable.from([stdout], { objectMode: false });
}
