import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { testFolder } from '@inference-server/testing';
import { failureOf, listZip, outputTar, streamOf, zipOf, type TarPart } from './trees.js';

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

const directory = (name: string): TarPart => ({ name, type: 'directory' });
const special = (name: string, type: NonNullable<TarPart['type']>): TarPart => ({
  name,
  type,
  linkname: '/etc/passwd',
});

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
      { name: 'output/a/../../b', content: 'x' },
      { name: 'output/good', content: 'x' },
    ]);
    expect(found.map(({ name }) => name)).toEqual(['good']);
    expect(leftOut).toEqual([
      'left out: a\\b: its name has a backslash in it',
      'left out: C:evil: its name begins with a drive letter',
      'left out: two\\u{a}lines\\u{1b}[31m\\u{202e}: its name has a control character in it',
      `left out: ${'deep/'.repeat(60)}…: its name is longer than 1024 bytes`,
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

describe('tarToZip refuses as the model’s fault', () => {
  it.each([
    [
      'too many bytes',
      'too_large',
      [
        { name: 'output/a', content: 'x'.repeat(60) },
        { name: 'output/b', content: 'x'.repeat(41) },
      ],
      { maxBytes: 100 },
    ],
    [
      'too many entries',
      'too_many_entries',
      ['a', 'b', 'c'].map((name) => ({ name: `output/${name}`, content: '' })),
      { maxEntries: 2 },
    ],
    [
      'too many links',
      'too_many_entries',
      ['a', 'b', 'c'].map((name) => special(`output/${name}`, 'symlink')),
      { maxEntries: 2 },
    ],
    [
      'a name twice',
      'duplicate_name',
      [
        { name: 'output/a', content: '1' },
        { name: 'output/a', content: '2' },
      ],
      {},
    ],
    [
      'two spellings of a name',
      'duplicate_name',
      [
        { name: 'output/é', content: '1' },
        { name: 'output/e\u0301', content: '2' },
      ],
      {},
    ],
    [
      'a file and a folder',
      'file_and_folder',
      [{ name: 'output/é', content: '1' }, directory('output/e\u0301/')],
      {},
    ],
  ])('%s', async (_what, reason, parts: TarPart[], options) => {
    const { zip } = zipOf(streamOf(await outputTar(parts)), options);
    const error = await failureOf(buffer(zip));
    expect(error).toMatchObject({ code: 'ZIP_REFUSED', extensions: { reason } });
    expect((error as Error).message).toMatch(/^The output is refused: /);
  });

  it.each(['symlink', 'file', 'fifo'] as const)(
    'an output folder that became a %s',
    async (type) => {
      const tar = await outputTar([]);
      tar.write({ symlink: '2', file: '0', fifo: '6' }[type], 156);
      tar.write('output\0', 0);
      fixChecksum(tar.subarray(0, 512));
      expect(await failureOf(buffer(zipOf(streamOf(tar)).zip))).toMatchObject({
        code: 'ZIP_REFUSED',
        extensions: { reason: 'not_a_folder' },
      });
    },
  );

  it('a tar of nothing', async () => {
    expect(await failureOf(buffer(zipOf(streamOf(Buffer.alloc(1024))).zip))).toMatchObject({
      extensions: { reason: 'not_a_folder' },
    });
  });

  it('a huge file before its first byte has come', async () => {
    const tar = new PassThrough();
    tar.write(
      (await outputTar([{ name: 'output/a', content: 'x'.repeat(5000) }])).subarray(0, 1024),
    );
    expect(await failureOf(buffer(zipOf(tar, { maxBytes: 4999 }).zip))).toMatchObject({
      extensions: { reason: 'too_large' },
    });
    expect(tar.destroyed).toBe(true);
  });
});

describe('tarToZip fails as ours', () => {
  it('when the tar is cut off, wherever', async () => {
    const tar = await outputTar([
      directory('output/sub/'),
      { name: 'output/sub/a', content: 'x'.repeat(700) },
      { name: 'output/zeros', content: Buffer.alloc(3000) },
      { name: 'output/ü', content: 'x' },
    ]);
    for (let end = 0; end < tar.length; end += 128) {
      const error = await failureOf(buffer(zipOf(streamOf(tar.subarray(0, end))).zip));
      expect(error, `cut at ${end} of ${tar.length}`).toMatchObject({
        code: 'INTERNAL',
      });
    }
  });

  it('when the tar is damaged', async () => {
    const tar = await outputTar([{ name: 'output/a', content: 'x' }]);
    tar.write('damaged', 512);
    expect(await failureOf(buffer(zipOf(streamOf(tar)).zip))).toMatchObject({ code: 'INTERNAL' });
  });

  it('when an entry lies outside the folder', async () => {
    const tar = await outputTar([{ name: 'elsewhere/a', content: 'x' }]);
    expect(await failureOf(buffer(zipOf(streamOf(tar)).zip))).toMatchObject({ code: 'INTERNAL' });
  });

  it.each([
    ['a foreign error', new Error('socket hang up'), { code: 'INTERNAL' }],
    ['an AppError', new AppError('SERVICE_UNAVAILABLE', 'away'), { code: 'SERVICE_UNAVAILABLE' }],
  ])('when its source fails with %s', async (_what, failure, expected) => {
    const tar = await outputTar([{ name: 'output/large', content: randomBytes(500_000) }]);
    for (const end of [100, 512, 1024, 70_000, 300_000]) {
      const source = Readable.from(
        (async function* () {
          yield* streamOf(tar.subarray(0, end)) as AsyncIterable<Buffer>;
          throw failure;
        })(),
        { objectMode: false },
      );
      expect(await failureOf(buffer(zipOf(source).zip))).toMatchObject(expected);
    }
  });

  it.each(['first', 'middle'])('when its source goes silent and is aborted (%s)', async (where) => {
    const tar = await outputTar([{ name: 'output/large', content: randomBytes(500_000) }]);
    const source = new PassThrough();
    source.write(tar.subarray(0, where === 'first' ? 100 : 200_000));
    const abort = new AbortController();
    const { zip } = zipOf(source, { signal: abort.signal });
    if (where === 'first') setImmediate(() => abort.abort());
    else zip.once('data', () => abort.abort());
    expect(await failureOf(buffer(zip))).toMatchObject({ name: 'AbortError' });
    expect(source.destroyed).toBe(true);
  });

  it('when nobody reads on: it lets go of its source', async () => {
    const tar = await outputTar([{ name: 'output/large', content: randomBytes(5_000_000) }]);
    const source = streamOf(tar);
    const { zip } = zipOf(source);
    await new Promise((resolve) => zip.once('data', resolve));
    const closed = new Promise((resolve) => source.once('close', resolve));
    zip.destroy();
    await closed;
  });
});

/** Writes a header's checksum anew. */
function fixChecksum(header: Buffer): void {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
}

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
