import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { checkZip, defaultZipLimits, zipToTar } from '../src/index.js';
import { backslashed, honestGenerated } from './honest-generated.js';
import { honestLibraries } from './honest-libraries.js';
import { honestPython } from './honest-python.js';
import { honestTools } from './honest-tools.js';
import { wholeTree, writeTree, type HonestMaker, type Tree } from './honest-zip.js';
import { listTar } from './trees.js';

const { signal } = new AbortController();
let folder: string;
let made = 0;

beforeAll(async () => {
  folder = await testFolder();
});

describe('an honest zip passes and keeps its content', () => {
  const makers = [...honestTools, ...honestPython, ...honestLibraries, ...honestGenerated];
  for (const maker of makers) {
    it.runIf(maker.needs === undefined || existsSync(maker.needs))(maker.what, async () => {
      const { path, gives } = await makeZip(maker);
      expect(await checkZip(path, { ...defaultZipLimits, requireFile: true }, signal)).toEqual({
        summary: summaryOf(gives),
      });
      expect(await extract(path)).toEqual(asPlain(gives));
    });
  }
});

describe('a zip of many entries', () => {
  it.runIf(existsSync(python))(
    'of 45,000 files by Python passes',
    async () => {
      const path = await pythonZip(45_000);
      expect(await checkZip(path, defaultZipLimits, signal)).toEqual({
        summary: { files: 45_000, folders: 450, unzippedBytes: 45_000 * 6 },
      });
      const { files, folders } = await extract(path);
      expect([Object.keys(files).length, folders.length]).toEqual([45_000, 450]);
      expect(files['folder-449/größe-44999']).toBe('044999');
    },
    30_000,
  );

  it.runIf(existsSync('/usr/bin/zip'))(
    'of 45,000 files by Info-ZIP passes',
    async () => {
      const place = join(folder, 'many');
      await mkdir(place);
      const names = Array.from({ length: 45_000 }, (_, index) => `f${index}`);
      for (const name of names) writeFileSync(join(place, name), name);
      const path = join(folder, 'many.zip');
      await run('/usr/bin/zip', ['-qrX', path, '.'], { cwd: place });
      await rm(place, { recursive: true });
      const { files } = await extract(path);
      expect(files).toEqual(Object.fromEntries(names.map((name) => [name, name])));
      expect(await checkZip(path, defaultZipLimits, signal)).toMatchObject({
        summary: { files: 45_000, folders: 0 },
      });
    },
    60_000,
  );

  it.runIf(existsSync(python))(
    'of more than 16 bits can count passes where it may',
    async () => {
      const path = await pythonZip(66_000);
      expect(await checkZip(path, defaultZipLimits, signal)).toEqual({
        finding: { reason: 'too_many_entries', allowed: 50_000 },
      });
      expect(await checkZip(path, { ...defaultZipLimits, maxEntries: 70_000 }, signal)).toEqual({
        summary: { files: 66_000, folders: 660, unzippedBytes: 66_000 * 6 },
      });
    },
    30_000,
  );
});

describe('a zip of a maker that cannot be read in one way', () => {
  it('is refused: backslashes of the old .NET and of Windows PowerShell', async () => {
    const path = join(folder, 'backslashed.zip');
    await writeFile(path, backslashed);
    expect(await checkZip(path, defaultZipLimits, signal)).toMatchObject({
      finding: { reason: 'backslash', entry: 1 },
    });
  });

  // Its end says "look into the 64-bit end", which it does not write: unzip itself calls it damaged.
  it.runIf(existsSync('/usr/bin/zip'))(
    'is refused: ZIP64 by force, streamed by Info-ZIP',
    async () => {
      const path = join(folder, 'forced.zip');
      const line = 'printf x > forced.txt; zip -q -fz - forced.txt | cat > forced.zip';
      await run('/bin/sh', ['-c', line], { cwd: folder });
      expect(await checkZip(path, defaultZipLimits, signal)).toMatchObject({
        finding: { reason: 'bad_directory' },
      });
    },
  );
});

const run = promisify(execFile);
const python = '/usr/bin/python3';

/** A zip with files of six bytes, a hundred in each folder. */
async function pythonZip(files: number): Promise<string> {
  const path = join(folder, `${files}.zip`);
  const script = `import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as z:
    for i in range(int(sys.argv[2])): z.writestr(f'folder-{i // 100}/größe-{i}', f'{i:06}')`;
  await run(python, ['-c', script, path, String(files)]);
  return path;
}

async function makeZip(maker: HonestMaker): Promise<{ path: string; gives: Tree }> {
  const place = join(folder, String((made += 1)));
  const tree = join(place, 'tree');
  await mkdir(tree, { recursive: true });
  await writeTree(tree, wholeTree);
  const path = join(place, 'made.zip');
  await maker.make({ tree, zip: path });
  await rm(tree, { recursive: true });
  return { path, gives: maker.gives ?? wholeTree };
}

function summaryOf({ files, folders }: Tree) {
  const contents = Object.values(files);
  return {
    files: contents.length,
    folders: folders.length,
    unzippedBytes: contents.reduce((sum, { length }) => sum + length, 0),
  };
}

async function extract(path: string) {
  const [root, ...entries] = await listTar(zipToTar(path, { limits: defaultZipLimits, signal }));
  expect(root).toMatchObject({ name: './', type: 'directory' });
  const isFolder = ({ type }: { type: string }) => type === 'directory';
  return {
    files: Object.fromEntries(
      entries.filter((entry) => !isFolder(entry)).map(({ name, content }) => [name, content]),
    ),
    folders: entries
      .filter(isFolder)
      .map(({ name }) => name.replace(/\/$/, ''))
      .sort(),
  };
}

/** Contents as text, of which a difference can be shown. */
function asPlain({ files, folders }: Tree) {
  return {
    files: Object.fromEntries(
      Object.entries(files).map(([path, content]) => [path, content.toString('latin1')]),
    ),
    folders: [...folders].sort(),
  };
}
