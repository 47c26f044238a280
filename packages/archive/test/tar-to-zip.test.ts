import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { testFolder } from '@inference-server/testing';
import { fixChecksum } from './fix-checksum.js';
import {
  directory,
  hardLink,
  listZip,
  outputTar,
  special,
  streamOf,
  tarOf,
  zipOf,
  type TarPart,
} from './trees.js';

const run = promisify(execFile);
let folder: string;

beforeAll(async () => {
  folder = await testFolder();
});

async function convert(parts: readonly TarPart[], options: Parameters<typeof zipOf>[1] = {}) {
  const { zip, leftOut } = zipOf(streamOf(await outputTar(parts)), options);
  const bytes = await buffer(zip);
  const found = await listZip(folder, bytes);
  return { zip: bytes, leftOut, found: found.slice(1) };
}

describe('tarToZip', () => {
  it('keeps structure, empty folders and files, names, modes and times', async () => {
    const modified = new Date(Date.UTC(2021, 5, 7, 8, 9, 11));
    const { found, leftOut } = await convert([
      { ...directory('output/Größe/'), mtime: modified },
      { name: 'output/Größe/ü 日本.txt', content: 'hello', mtime: modified },
      { name: 'output/Größe/u\u0308 nfd.txt', content: 'nfd' },
      { name: 'output/run.sh', mode: 0o755, content: '#!/bin/sh' },
      { name: 'output/private', mode: 0o600, content: 'x' },
      { name: 'output/empty', content: '' },
      directory('output/nothing/'),
      directory('output/nothing/in it/'),
    ]);
    expect(leftOut).toEqual([]);
    expect(found.map(({ name, mode, content }) => [name, mode, content])).toEqual([
      ['Größe/', '755', ''],
      ['Größe/ü 日本.txt', '644', Buffer.from('hello').toString('latin1')],
      ['Größe/u\u0308 nfd.txt', '644', 'nfd'],
      ['run.sh', '755', '#!/bin/sh'],
      ['private', '644', 'x'],
      ['empty', '644', ''],
      ['nothing/', '755', ''],
      ['nothing/in it/', '755', ''],
    ]);
    expect(found.slice(0, 2).map(({ seconds }) => seconds * 1000)).toEqual([
      modified.getTime(),
      modified.getTime(),
    ]);
  });

  it('makes an empty zip of an empty folder', async () => {
    const { zip, found } = await convert([]);
    expect(found).toEqual([]);
    expect(zip).toHaveLength(22);
  });

  it('takes any cut of the stream into chunks', async () => {
    const tar = await outputTar([
      { name: `output/${'long'.repeat(50)}`, content: randomBytes(2000) },
    ]);
    const zips = await Promise.all(
      [1, 7, 511, 512, 513, 100_000].map((size) => buffer(zipOf(streamOf(tar, size)).zip)),
    );
    for (const zip of zips) expect(zip.equals(zips[0] as Buffer)).toBe(true);
  });

  it('deflates what packs and stores what does not', async () => {
    const noise = randomBytes(300_000);
    const text = Buffer.from('all work and no play\n'.repeat(20_000));
    for (const [content, packs] of [
      [noise, false],
      [text, true],
      [noise.subarray(0, 500), false],
      [text.subarray(0, 500), true],
    ] as const) {
      const { zip, found } = await convert([{ name: 'output/x', content }]);
      expect(found[0]?.content).toBe(content.toString('latin1'));
      expect(zip.length < content.length).toBe(packs);
    }
  });

  it.each([
    ['before all time', new Date(-1e12)],
    ['before DOS', new Date(0)],
    ['after 2038', new Date(Date.UTC(2060, 0, 1))],
    ['after DOS', new Date(Date.UTC(2200, 0, 1))],
  ])('takes a time %s', async (_when, mtime) => {
    const tar = await outputTar([{ name: 'output/x', content: 'x', mtime: new Date(0) }]);
    setTime(tar.subarray(512, 1024), mtime);
    expect(await listZip(folder, await buffer(zipOf(streamOf(tar)).zip))).toHaveLength(2);
  });

  it('leaves out links and special files, each with a line', async () => {
    const { found, leftOut } = await convert([
      special('output/soft', 'symlink'),
      { name: 'output/kept', content: 'x' },
      special('output/hard', 'link'),
      special('output/pipe', 'fifo'),
      special('output/tty', 'character-device'),
      special('output/disk', 'block-device'),
    ]);
    expect(found.map(({ name }) => name)).toEqual(['kept']);
    expect(leftOut).toEqual([
      'left out: symbolic link soft',
      'left out: hard link hard',
      'left out: fifo pipe',
      'left out: device tty',
      'left out: device disk',
    ]);
  });

  it('writes a hard link as the file that it leads to, once the tar is at its end', async () => {
    const tar = streamOf(
      await outputTar([
        directory('output/in/'),
        { name: 'output/in/first', content: 'same' },
        hardLink('output/second', 'output/in/first'),
        { name: 'output/third', content: 'x' },
      ]),
    );
    const asked: [string, boolean][] = [];
    const { zip, leftOut } = zipOf(tar, {
      openHardLink: async (target) => {
        asked.push([target, tar.readableEnded]);
        return streamOf(await tarOf([{ name: 'first', mode: 0o755, content: 'same' }]));
      },
    });
    const found = (await listZip(folder, await buffer(zip))).slice(1);
    expect(found.map(({ name, mode, content }) => [name, mode, content])).toEqual([
      ['in/', '755', ''],
      ['in/first', '644', 'same'],
      ['third', '644', 'x'],
      ['second', '755', 'same'],
    ]);
    expect(asked).toEqual([['in/first', true]]);
    expect(leftOut).toEqual([]);
  });

  it('leaves out a hard link that leads elsewhere or to no file, with a line', async () => {
    const asked: string[] = [];
    const { found, leftOut } = await convert(
      [
        hardLink('output/outside', '/etc/passwd'),
        hardLink('output/above', 'output/../secret'),
        hardLink('output/itself', 'output/'),
        hardLink('output/folder', 'output/in'),
        hardLink('output/C:evil', 'output/in'),
        hardLink('output/nothing', 'output/nil'),
      ],
      {
        openHardLink: async (target) => {
          asked.push(target);
          return streamOf(await tarOf(target === 'in' ? [directory('in/')] : []));
        },
      },
    );
    expect(found).toEqual([]);
    expect(asked).toEqual(['in', 'nil']);
    expect(leftOut).toEqual([
      'left out: hard link outside',
      'left out: hard link above',
      'left out: hard link itself',
      'left out: C:evil: its name begins with a drive letter',
      'left out: hard link folder',
      'left out: hard link nothing',
    ]);
  });

  it('counts the bytes of a hard link', async () => {
    const parts = [{ name: 'output/a', content: 'x'.repeat(60) }, hardLink('output/b', 'output/a')];
    const openHardLink = async () =>
      streamOf(await tarOf([{ name: 'a', content: 'x'.repeat(60) }]));
    expect((await convert(parts, { openHardLink, maxBytes: 120 })).found).toHaveLength(2);
    await expect(convert(parts, { openHardLink, maxBytes: 119 })).rejects.toMatchObject({
      code: 'ZIP_REFUSED',
      extensions: { reason: 'too_large' },
    });
  });

  it('fails with the tar of a hard link', async () => {
    const parts = [{ name: 'output/a', content: 'x' }, hardLink('output/b', 'output/a')];
    const file = { name: 'a', content: 'x' };
    const whole = await tarOf([file]);
    const reason = new AppError('SERVICE_UNAVAILABLE', 'away');
    for (const [openHardLink, code] of [
      [async () => Promise.reject(reason), 'SERVICE_UNAVAILABLE'],
      [async () => Promise.resolve(streamOf(whole.subarray(0, 1024))), 'INTERNAL'],
      [async () => streamOf(await tarOf([file, { ...file, name: 'b' }])), 'INTERNAL'],
    ] as const) {
      await expect(convert(parts, { openHardLink })).rejects.toMatchObject({ code });
    }
  });

  it('destroys the tar of a hard link when nobody reads on', async () => {
    const silent = new PassThrough();
    const parts = [hardLink('output/b', 'output/a')];
    let opened = false;
    const { zip } = zipOf(streamOf(await outputTar(parts)), {
      openHardLink: () => {
        opened = true;
        return Promise.resolve(silent);
      },
    });
    zip.resume();
    await expect.poll(() => opened).toBe(true);
    zip.destroy();
    await expect.poll(() => silent.destroyed).toBe(true);
  });

  it('leaves out an entry of a kind that it does not know, with its content', async () => {
    const tar = await outputTar([
      { name: 'output/strange', content: 'x'.repeat(700) },
      { name: 'output/kept', content: 'x' },
    ]);
    tar.write('V', 512 + 156);
    fixChecksum(tar.subarray(512, 1024));
    const { zip, leftOut } = zipOf(streamOf(tar));
    expect((await listZip(folder, await buffer(zip))).map(({ name }) => name)).toEqual([
      './',
      'kept',
    ]);
    expect(leftOut).toEqual(['left out: entry of an unknown kind strange']);
  });

  it('leaves out names that no zip may carry, with a line that stays one line', async () => {
    const { found, leftOut } = await convert([
      { name: 'output/a\\b', content: 'x' },
      { name: 'output/C:evil', content: 'x' },
      { name: 'output/two\nlines\x1b[31m\u202e', content: 'x' },
      { name: `output/${'deep/'.repeat(210)}end`, content: 'x' },
      { name: 'output/a/..;1', content: 'x' },
      { name: 'output/a/../../b', content: 'x' },
      { name: 'output/good', content: 'x' },
    ]);
    expect(found.map(({ name }) => name)).toEqual(['good']);
    expect(leftOut).toEqual([
      'left out: a\\b: its name has a backslash in it',
      'left out: C:evil: its name begins with a drive letter',
      'left out: two\\u{a}lines\\u{1b}[31m\\u{202e}: its name has a control character in it',
      `left out: ${'deep/'.repeat(60)}…: its name is longer than 1024 bytes`,
      'left out: a/..;1: a part of its name is a double dot',
      'left out: a/../../b: a part of its name is a double dot',
    ]);
  });

  it.each(['ustar', 'pax'])('leaves out a name that is not UTF-8 (%s)', async (format) => {
    const [bad, good] = [
      Buffer.from('output/b\xe4d', 'latin1'),
      { name: 'output/good', content: 'x' },
    ];
    const tar = await outputTar([{ name: 'output/bad', content: 'x' }, good]);
    if (format === 'ustar') bad.copy(tar, 512);
    fixChecksum(tar.subarray(512, 1024));
    const whole = format === 'ustar' ? tar : withPaxPath(tar, bad);
    const { zip, leftOut } = zipOf(streamOf(whole));
    expect((await listZip(folder, await buffer(zip))).map(({ name }) => name)).toEqual([
      './',
      'good',
    ]);
    expect(leftOut).toEqual(['left out: b\ufffdd: its name is not valid UTF-8']);
  });

  it('reads what GNU tar writes', async () => {
    const tree = join(folder, 'gnu', 'output');
    await mkdir(join(tree, 'sub', 'empty'), { recursive: true });
    await writeFile(join(tree, 'sub', `${'n'.repeat(150)}-ü`), 'long');
    await writeFile(join(tree, 'run'), 'x');
    await chmod(join(tree, 'run'), 0o755);
    await symlink('run', join(tree, 'link'));
    for (const format of ['gnu', 'pax']) {
      const args = [`--format=${format}`, '--sort=name', '-cf', '-', 'output'];
      const { stdout } = await run('tar', args, {
        cwd: join(folder, 'gnu'),
        encoding: 'buffer',
        env: { LC_ALL: 'C.UTF-8' },
      });
      const { zip, leftOut } = zipOf(streamOf(stdout));
      const found = await listZip(folder, await buffer(zip));
      const long = `sub/${'n'.repeat(150)}-ü`;
      expect(found.map(({ name }) => name)).toEqual(['./', 'run', 'sub/', 'sub/empty/', long]);
      expect(leftOut).toEqual(['left out: symbolic link link']);
    }
  });
});

describe('the zip of tarToZip', () => {
  const parts: readonly TarPart[] = [
    directory('output/Größe/'),
    { name: 'output/Größe/ü 日本.txt', content: 'hello' },
    { name: 'output/noise', content: randomBytes(300_000) },
    { name: 'output/text', content: 'all work and no play\n'.repeat(20_000) },
    { name: 'output/run.sh', mode: 0o755, content: '#!/bin/sh' },
    { name: 'output/empty', content: '' },
    directory('output/nothing/'),
  ];
  let path: string;

  beforeAll(async () => {
    path = join(folder, 'output.zip');
    await writeFile(path, (await convert(parts)).zip);
  });

  it.runIf(existsSync('/usr/bin/unzip'))(
    'is sound to Info-ZIP, which keeps its modes',
    async () => {
      await run('/usr/bin/unzip', ['-tq', path]);
      const { stdout } = await run('/usr/bin/zipinfo', [path]);
      expect(stdout).toMatch(/-rwxr-xr-x.*run\.sh/);
      expect(stdout).toMatch(/drwxr-xr-x.*nothing\//);
      expect(stdout).toMatch(/-rw-r--r--.*stor.*noise/);
      expect(stdout).toMatch(/-rw-r--r--.*def.*text/);
    },
  );

  it.runIf(existsSync('/usr/bin/7z'))('is sound to 7-Zip', async () => {
    const { stdout } = await run('/usr/bin/7z', ['t', path]);
    expect(stdout).toContain('Everything is Ok');
    expect(stdout).not.toMatch(/warning/i);
  });

  it.runIf(existsSync('/usr/bin/python3'))('is sound to Python', async () => {
    const script =
      'import sys, zipfile, json; z = zipfile.ZipFile(sys.argv[1]); print(json.dumps([z.testzip(), z.namelist()]))';
    const { stdout } = await run('/usr/bin/python3', ['-c', script, path]);
    const names = parts.map(({ name }) => name.slice('output/'.length));
    expect(JSON.parse(stdout)).toEqual([null, names]);
  });
});

/** A time as GNU tar writes those that octal digits cannot hold. */
function setTime(header: Buffer, time: Date): void {
  header.writeUInt32BE(time.getTime() < 0 ? 0xffffffff : 0x80000000, 136);
  header.writeBigInt64BE(BigInt(Math.floor(time.getTime() / 1000)), 140);
  fixChecksum(header);
}

/** Puts a pax header with `path` before the second entry of `tar`. */
function withPaxPath(tar: Buffer, path: Buffer): Buffer {
  const record = Buffer.concat([Buffer.from(` path=`), path, Buffer.from('\n')]);
  const data = Buffer.concat([Buffer.from(String(record.length + 2)), record]);
  const header = Buffer.from(tar.subarray(512, 1024));
  header.write('x', 156);
  header.write(data.length.toString(8).padStart(11, '0'), 124);
  fixChecksum(header);
  const block = Buffer.alloc(512);
  data.copy(block);
  return Buffer.concat([tar.subarray(0, 512), header, block, tar.subarray(512)]);
}
