import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { checkZip, defaultZipLimits, zipRefusals, type ZipRules } from '../src/index.js';
import { parseExtraFields } from '../src/extra-fields.js';
import { readZipDirectory } from '../src/zip-directory.js';
import { readZipEntries } from '../src/zip-entries.js';
import { readZipEnd } from '../src/zip-end.js';
import { openZipFile, type ZipFile } from '../src/zip-file.js';
import { hostileZips } from './hostile-zips.js';
import { buildZip, extraField, unicodeName } from './zip-builder.js';

const run = promisify(execFile);
const { signal } = new AbortController();
let folder: string;

beforeAll(async () => {
  folder = await testFolder();
});

async function check(zip: Buffer, rules: Partial<ZipRules> = {}) {
  const path = join(folder, 'checked.zip');
  await writeFile(path, zip);
  return checkZip(path, { ...defaultZipLimits, requireFile: true, ...rules }, signal);
}

describe('an honest zip', () => {
  it('is summed up', async () => {
    const zip = buildZip([
      { name: 'a/' },
      { name: 'a/one.txt', content: 'one', mode: 0o100644 },
      { name: 'b/c/two.txt', content: 'three', method: 8 },
      { name: 'a/empty' },
    ]);
    expect(await check(zip)).toEqual({
      summary: { files: 3, folders: 3, unzippedBytes: 8 },
    });
  });

  it('may name a folder after what it holds, and hold nothing at all as an output', async () => {
    expect(await check(buildZip([{ name: 'a/b', content: 'x' }, { name: 'a/' }]))).toMatchObject({
      summary: { files: 1, folders: 1 },
    });
    expect(await check(buildZip([]), { requireFile: false })).toEqual({
      summary: { files: 0, folders: 0, unzippedBytes: 0 },
    });
  });

  it.each([0, 8])(
    'hands over a file that is asked for, unless it is too large (%s)',
    async (method) => {
      const content = 'x'.repeat(600_000) + 'end';
      const zip = buildZip([
        { name: 'a/taken', content: 'another' },
        { name: 'taken', content, method },
      ]);
      const take = { path: 'taken', maxBytes: content.length };
      expect(await check(zip, { take })).toMatchObject({
        summary: { taken: Buffer.from(content) },
      });
      const less = { ...take, maxBytes: content.length - 1 };
      expect(await check(zip, { take: less })).toMatchObject({ summary: { taken: 'too_large' } });
      const absent = await check(zip, { take: { ...take, path: 'absent' } });
      expect('summary' in absent && 'taken' in absent.summary).toBe(false);
    },
  );

  it('may have a comment, and any letter in its names', async () => {
    const names = [
      'Müller.txt',
      '日本/語.txt',
      'a b',
      '-rf',
      '…',
      '.hidden',
      '..x',
      'x..',
      ':b',
      'a;1',
      ';a',
    ];
    const zip = buildZip(
      names.map((name) => ({ name })),
      { comment: Buffer.from('made by hand') },
    );
    expect(await check(zip)).toMatchObject({ summary: { files: names.length } });
  });

  it('may have names in code page 437', async () => {
    const zip = buildZip([{ name: Buffer.from([0x81, 0x2e, 0x74]), flags: 0, madeBy: 20 }]);
    expect(await check(zip)).toMatchObject({ summary: { files: 1 } });
  });

  it.runIf(existsSync('/usr/bin/zip'))('comes from Info-ZIP', async () => {
    const tree = await makeTree('info-zip');
    const path = join(folder, 'info-zip.zip');
    await run('/usr/bin/zip', ['-q', '-r', path, '.'], { cwd: tree });
    expect(await checkZip(path, defaultZipLimits, signal)).toEqual({ summary: treeSummary });
    // A link that is stored as such.
    await symlink('/etc/passwd', join(tree, 'link'));
    await run('/usr/bin/zip', ['-q', '-r', '--symlinks', path, '.'], { cwd: tree });
    expect(await checkZip(path, defaultZipLimits, signal)).toMatchObject({
      finding: { reason: 'symlink' },
    });
    await rm(join(tree, 'link'));
    await run('/usr/bin/zip', ['-q', '-r', '--password', 'x', `${path}2`, '.'], { cwd: tree });
    expect(await checkZip(`${path}2`, defaultZipLimits, signal)).toMatchObject({
      finding: { reason: 'encrypted' },
    });
  });

  it.runIf(existsSync('/usr/bin/7z'))('comes from 7-Zip', async () => {
    const tree = await makeTree('7z');
    const path = join(folder, '7z.zip');
    await run('/usr/bin/7z', ['a', '-tzip', path, '.'], { cwd: tree });
    expect(await checkZip(path, defaultZipLimits, signal)).toEqual({ summary: treeSummary });
    await run('/usr/bin/7z', ['a', '-tzip', '-mm=LZMA', `${path}2`, '.'], { cwd: tree });
    expect(await checkZip(`${path}2`, defaultZipLimits, signal)).toMatchObject({
      finding: { reason: 'unknown_method' },
    });
  });

  it.runIf(existsSync('/usr/bin/python3'))('comes from Python', async () => {
    const tree = await makeTree('python');
    const path = join(folder, 'python.zip');
    const script = 'import shutil, sys; shutil.make_archive(sys.argv[1][:-4], "zip", sys.argv[2])';
    await run('/usr/bin/python3', ['-c', script, path, tree]);
    const found = await checkZip(path, defaultZipLimits, signal);
    expect(found).toMatchObject({
      summary: { files: 3, unzippedBytes: treeSummary.unzippedBytes },
    });
  });
});

describe('a hostile zip', () => {
  it.each(hostileZips)('is refused: $what', async ({ zip, reason, entry, rules }) => {
    const verdict = await check(zip, rules);
    const { entry: foundEntry, ...finding } = 'finding' in verdict ? verdict.finding : {};
    expect({ ...finding, entry: foundEntry }).toMatchObject({ reason, entry });
  });

  it('is found at an entry and a byte', async () => {
    const zip = buildZip([
      { name: 'a', content: 'x' },
      { name: 'b', content: 'y', crc: 1 },
    ]);
    expect(await check(zip)).toEqual({
      finding: { reason: 'crc_mismatch', entry: 2, offset: 63 },
    });
  });

  it('is shown for every reason', () => {
    const covered = new Set<string>(hostileZips.map(({ reason }) => reason));
    // A thread's memory, not the main one's: see the tests of the gate.
    const uncovered = zipRefusals.filter(
      (reason) => !covered.has(reason) && reason !== 'too_much_memory',
    );
    expect(uncovered).toEqual([]);
  });

  it('of random damage is refused or passes, and nothing else happens', async () => {
    const honest = buildZip([
      { name: 'a/', mode: 0o040755 },
      {
        name: 'a/b',
        content: 'content',
        method: 8,
        flags: 0,
        extra: unicodeName(Buffer.from('a/b'), Buffer.from('a/ü')),
      },
      { name: 'c', content: 'more' },
    ]);
    for (let at = 0; at < honest.length; at++) {
      for (const value of [0x00, 0x2f, 0x80, 0xff]) {
        const damaged = Buffer.from(honest);
        damaged[at] = value;
        await check(damaged);
      }
    }
    for (let end = 0; end < honest.length; end++) {
      expect(await check(honest.subarray(0, end))).toHaveProperty('finding');
    }
  });
});

describe('checkZip', () => {
  it('reads 50,000 entries and their folders, and no more', async () => {
    const names = (count: number) =>
      Array.from({ length: count }, (_, index) => ({
        name: `folder-${index % 500}/file-${index}`,
      }));
    expect(await check(buildZip(names(50_000)))).toMatchObject({
      summary: { files: 50_000, folders: 500 },
    });
    expect(await check(buildZip(names(50_001)))).toMatchObject({
      finding: { reason: 'too_many_entries' },
    });
  });

  it('is not slowed down or filled up by deep paths that share nothing', async () => {
    const deep = '/a'.repeat(500);
    const zip = buildZip(Array.from({ length: 500 }, (_, index) => ({ name: `${index}${deep}` })));
    const before = process.memoryUsage.rss();
    expect(await check(zip)).toMatchObject({ finding: { reason: 'too_many_entries' } });
    expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(64);
  });

  it('nor by such paths behind names in extra fields that share all', async () => {
    const zip = buildZip(
      Array.from({ length: 1000 }, (_, index) => {
        const letter = Buffer.from([0x80 + (index % 32), 0x80 + Math.floor(index / 32)]);
        const deep = Array.from({ length: 300 }, () => letter.toString('latin1')).join('/');
        const raw = Buffer.from(`${deep}/${index}`, 'latin1');
        const name = Buffer.from(`${'ü/'.repeat(300)}${index}`);
        return { name: raw, flags: 0, extra: unicodeName(raw, name) };
      }),
    );
    const before = process.memoryUsage.rss();
    expect(await check(zip)).toMatchObject({ finding: { reason: 'too_many_entries' } });
    expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(128);
  });

  it('throws the reason of its signal', async () => {
    await writeFile(join(folder, 'aborted.zip'), buildZip([{ name: 'a' }]));
    const why = new Error('stopping');
    const checking = checkZip(
      join(folder, 'aborted.zip'),
      defaultZipLimits,
      AbortSignal.abort(why),
    );
    await expect(checking).rejects.toBe(why);
  });

  it('looks at its signal between the records of the directory', async () => {
    const path = join(folder, 'directory.zip');
    const names = Array.from({ length: 10_000 }, (_, index) => ({ name: `file-${index}` }));
    await writeFile(path, buildZip(names));
    const zip = await openZipFile(path);
    const stop = new AbortController();
    const why = new Error('stopping');
    let reads = 0;
    const counted: ZipFile = {
      ...zip,
      read(position, length) {
        reads += 1;
        if (reads === 100) stop.abort(why);
        return zip.read(position, length);
      },
    };
    try {
      const reading = readZipDirectory(counted, await readZipEnd(zip), stop.signal);
      await expect(reading).rejects.toBe(why);
      expect(reads).toBeLessThan(103);
    } finally {
      await zip.close();
    }
  });

  it('looks at its signal while it inflates what gives no content', async () => {
    const path = join(folder, 'empty-blocks.zip');
    const packed = Buffer.alloc(2 ** 24, Buffer.from([0, 0, 0, 0xff, 0xff]));
    await writeFile(path, buildZip([{ name: 'a', method: 8, packed }]));
    const zip = await openZipFile(path);
    const stop = new AbortController();
    const why = new Error('stopping');
    let chunks = 0;
    const counted: ZipFile = {
      ...zip,
      async *readRange(start, end) {
        for await (const chunk of zip.readRange(start, end)) {
          chunks += 1;
          if (chunks === 2) stop.abort(why);
          yield chunk;
        }
      },
    };
    try {
      const reading = async () => {
        for await (const { content } of readZipEntries(counted, defaultZipLimits, stop.signal)) {
          for await (const chunk of content()) expect(chunk).toHaveLength(0);
        }
      };
      await expect(reading()).rejects.toBe(why);
      expect(chunks).toBeLessThan(5);
    } finally {
      await zip.close();
    }
  });

  it('keeps of the extra fields those that say something to it', () => {
    const area = Buffer.concat([
      ...Array.from({ length: 10_000 }, (_, id) => extraField(id, Buffer.alloc(0))),
      extraField(0x5455, Buffer.from([1, 2, 3, 4, 5])),
    ]);
    expect([...(parseExtraFields(area)?.keys() ?? [])]).toEqual([0x0001, 0x000a, 0x5455]);
  });

  it('says INTERNAL when the file cannot be read', async () => {
    const checking = checkZip(join(folder, 'absent.zip'), defaultZipLimits, signal);
    await expect(checking).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('leaves the file as it is', async () => {
    const zip = buildZip([{ name: 'a', content: 'x' }]);
    await check(zip);
    expect((await readFile(join(folder, 'checked.zip'))).equals(zip)).toBe(true);
  });
});

const treeSummary = { files: 3, folders: 3, unzippedBytes: 5 + 100_000 };

/** A folder with what the tools store differently. */
async function makeTree(name: string): Promise<string> {
  const tree = join(folder, name);
  await mkdir(join(tree, 'sub', 'empty'), { recursive: true });
  await mkdir(join(tree, 'Größe'));
  await writeFile(join(tree, 'Größe', 'ü 日本.txt'), 'hello');
  await writeFile(join(tree, 'sub', 'run.sh'), '');
  await chmod(join(tree, 'sub', 'run.sh'), 0o755);
  await writeFile(join(tree, 'zeros'), Buffer.alloc(100_000));
  return tree;
}
