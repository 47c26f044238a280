import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder, waitUntil } from '@inference-server/testing';
import { defaultZipLimits, zipToTar } from '../src/index.js';
import { hostileZips } from './hostile-zips.js';
import { failureOf, listTar, listZip } from './trees.js';
import { buildZip, unicodeName } from './zip-builder.js';

const { signal } = new AbortController();
let folder: string;

beforeAll(async () => {
  folder = await testFolder();
});

async function tarOf(zip: Buffer, limits = defaultZipLimits) {
  const path = join(folder, 'extracted.zip');
  await writeFile(path, zip);
  return zipToTar(path, { limits, signal: new AbortController().signal });
}

const namesOf = async (zip: Buffer) => (await listZip(folder, zip)).map(({ name }) => name);

describe('zipToTar', () => {
  it('begins with the folder itself and gives every parent an entry, once', async () => {
    const zip = buildZip([
      { name: 'a/b/c.txt', content: 'c' },
      { name: 'a/' },
      { name: 'a/b/d.txt', content: 'd', method: 8 },
      { name: 'empty/folder/' },
    ]);
    expect(await namesOf(zip)).toEqual([
      './',
      'a/',
      'a/b/',
      'a/b/c.txt',
      'a/b/d.txt',
      'empty/',
      'empty/folder/',
    ]);
  });

  it('makes all of it root’s and readable, and keeps executable files executable', async () => {
    const zip = buildZip([
      { name: 'secret', mode: 0o100600 },
      { name: 'run', mode: 0o100744, content: '#!/bin/sh' },
      { name: 'setuid', mode: 0o104755 },
      { name: 'closed/', mode: 0o040700 },
      { name: 'silent', madeBy: 20 },
    ]);
    const found = await listZip(folder, zip);
    expect(found.map(({ name, mode, owner }) => [name, mode, owner])).toEqual([
      ['./', '755', 0],
      ['secret', '644', 0],
      ['run', '755', 0],
      ['setuid', '755', 0],
      ['closed/', '755', 0],
      ['silent', '644', 0],
    ]);
  });

  it('keeps content, stored and deflated, large and empty', async () => {
    const noise = randomBytes(200_000).toString('latin1');
    const text = 'all work and no play\n'.repeat(20_000);
    const zip = buildZip([
      { name: 'noise', content: Buffer.from(noise, 'latin1') },
      { name: 'packed-noise', content: Buffer.from(noise, 'latin1'), method: 8 },
      { name: 'text', content: text, method: 8 },
      { name: 'empty' },
      { name: 'packed-empty', method: 8 },
      { name: 'block', content: 'x'.repeat(512) },
    ]);
    const found = await listZip(folder, zip);
    expect(found.slice(1).map(({ content }) => content)).toEqual([
      noise,
      noise,
      text,
      '',
      '',
      'x'.repeat(512),
    ]);
  });

  it('keeps times that a tar can hold', async () => {
    const [, entry] = await listZip(folder, buildZip([{ name: 'a' }]));
    expect(entry?.seconds).toBe(Date.UTC(2024, 2, 2, 10, 20, 30) / 1000);
  });

  it.each([
    ['flagged', 0x800, 3, Buffer.from('ü日本', 'utf8'), 'ü日本'],
    ['unflagged from Unix', 0, 3, Buffer.from('ü日本', 'utf8'), 'ü日本'],
    ['unflagged from macOS', 0, 19, Buffer.from('u\u0308', 'utf8'), 'u\u0308'],
    ['in code page 437 from DOS', 0, 0, Buffer.from([0x81, 0xe1]), 'üß'],
    ['in code page 437 from Unix', 0, 3, Buffer.from([0x81, 0xe1]), 'üß'],
  ])('decodes names that are %s', async (_how, flags, host, name, expected) => {
    const zip = buildZip([{ name, flags, madeBy: (host << 8) | 20 }]);
    expect(await namesOf(zip)).toEqual(['./', expected]);
  });

  it('takes the name of Info-ZIP’s extra field while it belongs to the entry', async () => {
    const raw = Buffer.from([0x81]);
    const zip = buildZip([
      { name: raw, flags: 0, madeBy: 20, extra: unicodeName(raw, Buffer.from('日')) },
      { name: 'renamed', extra: unicodeName(raw, Buffer.from('old')) },
    ]);
    expect(await namesOf(zip)).toEqual(['./', '日', 'renamed']);
  });

  it.each([
    ['escapes', 'Gr#U00f6#U00dfe #L01f600_?.txt', 'Größe 😀__.txt'],
    ['escapes of Ant', '%U20ACuro %UD83D%UDE00.txt', '€uro 😀.txt'],
    ['the most similar letters', "scan - Muller's lakA1.dcm", 'scan – Müller’s łąkＡ１.dcm'],
    ['marks', 'Gr??e/?.txt', 'Größe/日.txt'],
    ['letters of one byte', 'Gr\x94\xe1e.txt', 'Größe.txt'],
    ['letters of two bytes, one of them ASCII', '\x83\x5e\x83t\x8et.txt', 'タフ師.txt'],
  ])('takes a name in the extra field for one with %s', async (_what, spelled, expected) => {
    const raw = Buffer.from(spelled, 'latin1');
    const extra = unicodeName(raw, Buffer.from(expected));
    const names = await namesOf(buildZip([{ name: raw, flags: 0, extra }]));
    expect(names.at(-1)).toBe(expected);
  });

  it('writes long and foreign names that other readers understand', async () => {
    const names = [
      'a'.repeat(100),
      'b'.repeat(101),
      'c'.repeat(255),
      `${'日'.repeat(80)}/${'x'.repeat(200)}`,
      `${'deep/'.repeat(200)}end`,
      `length of record/${'d'.repeat(73)}`,
      ...Array.from({ length: 12 }, (_, extra) => `e${'é'.repeat(40)}${'f'.repeat(extra)}`),
    ];
    const tar = await tarOf(buildZip(names.map((name) => ({ name, content: name }))));
    const path = join(folder, 'names.tar');
    await pipeline(tar, createWriteStream(path));
    const { stdout } = await promisify(execFile)('tar', ['--quoting-style=literal', '-tf', path], {
      env: { LC_ALL: 'C.UTF-8' },
    });
    const files = stdout.split('\n').filter((name) => name !== '' && !name.endsWith('/'));
    expect(files).toEqual(names);
  });

  it('states sizes of 8 GiB and more in a way that other readers understand', async () => {
    const { tarHeader } = await import('../src/tar-header.js');
    const bytes = 9 * 2 ** 30 + 5;
    const header = tarHeader({ name: 'huge', mode: 0o644, bytes, modified: new Date(0) });
    const path = join(folder, 'huge.tar');
    await writeFile(path, header);
    const listed = await promisify(execFile)('tar', ['-tvf', path]).catch(
      (error: unknown) => error as { stdout: string },
    );
    expect(listed.stdout).toContain(` ${bytes} `);
  });
});

describe('zipToTar of a bad zip', () => {
  it.each(hostileZips.filter(({ reason }) => reason !== 'no_file'))(
    'ends with the gate’s refusal: $what',
    async ({ zip, reason, rules }) => {
      const tar = await tarOf(zip, { ...defaultZipLimits, ...rules });
      expect(await failureOf(listTar(tar))).toMatchObject({
        code: 'ZIP_REFUSED',
        extensions: { reason },
      });
    },
  );

  it('gives no byte more than an entry states', async () => {
    const zip = buildZip([
      { name: 'bomb', method: 8, packed: deflateRawSync(Buffer.alloc(50_000_000)), bytes: 10 },
    ]);
    let bytes = 0;
    const tar = await tarOf(zip);
    tar.on('data', (chunk: Buffer) => (bytes += chunk.length));
    expect(await failureOf(pipeline(tar, async function* () {}))).toBeDefined();
    expect(bytes).toBeLessThan(2000);
  });
});

describe('zipToTar, abandoned', () => {
  const large = buildZip([{ name: 'large', content: randomBytes(5_000_000) }]);
  const closed = async () => {
    const descriptors = await readdir('/proc/self/fd');
    const targets = await Promise.all(
      descriptors.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')),
    );
    return !targets.some((target) => target.startsWith(folder));
  };

  it('closes the zip when its reader goes away', async () => {
    const tar = await tarOf(large);
    for await (const chunk of tar) if ((chunk as Buffer).length > 1000) break;
    expect(await waitUntil(closed, { timeoutMs: 5000 })).toBe(true);
  });

  it('closes the zip when aborted', async () => {
    const path = join(folder, 'aborted.zip');
    await writeFile(path, large);
    const abort = new AbortController();
    const tar = zipToTar(path, { limits: defaultZipLimits, signal: abort.signal });
    // In the middle of the content.
    let bytes = 0;
    tar.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > 1_000_000) abort.abort();
    });
    expect(await failureOf(finished(tar))).toMatchObject({ name: 'AbortError' });
    expect(await waitUntil(closed, { timeoutMs: 5000 })).toBe(true);
  });

  it('says INTERNAL when there is no such zip', async () => {
    const tar = zipToTar(join(folder, 'absent.zip'), { limits: defaultZipLimits, signal });
    expect(await failureOf(listTar(tar))).toMatchObject({ code: 'INTERNAL' });
  });
});
