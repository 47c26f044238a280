import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { checkZip, defaultZipLimits, zipToTar } from '@inference-server/archive';
import { listTar } from '../../packages/archive/test/trees.js';
import { explain, inBytes } from './reader-differences.js';
import type { FuzzRun } from './run-cases.js';
import { drawZips } from './zip-cases.js';
import { openReaders, type Tree, type ZipReader } from './zip-readers.js';

export interface Comparison {
  /** Let pass by the gate, and so read by all. */
  accepted: number;
  /** Differences of which the reason is known, by that reason. */
  explained: Record<string, number>;
  /** Of a tenth of the refused ones: how many all readers read alike. */
  refused: { tried: number; readAlike: number };
}

/**
 * Makes and damages zips; what the gate lets pass must come out of unzip, 7z and Python, and of bsdtar and
 * Java where they are, as it comes out of zipToTar: the same paths, kinds and bytes. A difference that {@link explain} does not know is
 * thrown, with the seed, the case and its bytes.
 */
export async function compareReaders({ cases, seed, onCase }: FuzzRun): Promise<Comparison> {
  const folder = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'compare-'));
  const readers = openReaders();
  const comparison: Comparison = {
    ...{ accepted: 0, explained: {} },
    refused: { tried: 0, readAlike: 0 },
  };
  const zips = drawZips({ cases, seed, soundness: 3 });
  let next = 0;
  /** Takes one zip after the other; there are as many as cores to run the readers on. */
  const work = async () => {
    for (const zip of zips) {
      const number = next++;
      onCase?.();
      const place = join(folder, String(number));
      try {
        await compareOne(zip, { readers, place, number, comparison });
      } catch (error) {
        const bytes = zip.toString('base64');
        throw new Error(`seed ${seed}, case ${number}: ${bytes}`, { cause: error });
      } finally {
        for (const end of ['.zip', ...readers.map(({ name }) => `.${name}`)]) {
          await rm(`${place}${end}`, { recursive: true, force: true });
        }
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: workers }, work));
    return comparison;
  } finally {
    for (const reader of readers) await reader.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const workers = 3;
const limits = { ...defaultZipLimits, maxUnzippedBytes: 10_000_000 };
const { signal } = new AbortController();

async function compareOne(
  zip: Buffer,
  {
    readers,
    place,
    number,
    comparison,
  }: { readers: ZipReader[]; place: string; number: number; comparison: Comparison },
): Promise<void> {
  const path = `${place}.zip`;
  writeFileSync(path, zip);
  const readAll = async () =>
    Promise.all(
      readers.map(async ({ name, read }) => ({
        name,
        reading: await read(path, `${place}.${name}`),
      })),
    );
  if ('finding' in (await checkZip(path, limits, signal))) {
    if (number % 10 !== 0) return;
    const [first, ...others] = (await readAll()).map(({ reading }) => reading);
    comparison.refused.tried += 1;
    const isRead = first?.complaint === undefined;
    if (isRead && others.every((reading) => isDeepStrictEqual(reading, first))) {
      comparison.refused.readAlike += 1;
    }
    return;
  }
  comparison.accepted += 1;
  const ours = await readOurs(path);
  for (const { name, reading } of await readAll()) {
    if (reading.complaint === undefined && isDeepStrictEqual(reading.tree, ours)) continue;
    const reasons = await explain(name, { path, ours, theirs: reading });
    if (reasons === undefined) {
      const { tree, complaint = 'no word' } = reading;
      throw new Error(`${name} reads ${show(tree)} with ${complaint}, and we ${show(ours)}`);
    }
    for (const why of reasons) {
      comparison.explained[why] = (comparison.explained[why] ?? 0) + 1;
    }
  }
}

async function readOurs(path: string): Promise<Tree> {
  const [, ...entries] = await listTar(zipToTar(path, { limits, signal }));
  return new Map(
    entries.map(({ name, type, content }) => {
      const isFolder = type === 'directory';
      return [inBytes(name.replace(/\/$/, '')), isFolder ? undefined : content];
    }),
  );
}

function show(tree: Tree): string {
  const entries = [...tree].map(([path, content]) => [path, content?.slice(0, 40) ?? 'folder']);
  return JSON.stringify(entries);
}
