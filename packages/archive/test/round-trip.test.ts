import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { checkZip, defaultZipLimits } from '../src/index.js';
import { listZip, outputTar, streamOf, zipOf, type Found } from './trees.js';
import { buildZip, type RawEntry } from './zip-builder.js';

let folder: string;

beforeAll(async () => {
  folder = await testFolder();
});

/** A file, or a folder by its names. */
type Tree =
  { content: string; executable: boolean; method: number } | { entries: [string, Tree][] };

const name = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
    fc.string({ minLength: 90, maxLength: 250 }),
  )
  .filter((text) => !/[\p{Cc}/\\\uFFFD]|^[A-Za-z]:|^\.\.?$/u.test(text))
  .filter((text) => Buffer.byteLength(text) <= 255);

const { tree } = fc.letrec<{ tree: Tree; file: Tree; folder: Tree }>((tie) => ({
  tree: fc.oneof({ maxDepth: 3 }, tie('file'), tie('folder')),
  file: fc.record({
    content: fc.string({ unit: 'binary', maxLength: 2000 }),
    executable: fc.boolean(),
    method: fc.constantFrom(0, 8),
  }),
  folder: fc.record({
    entries: fc.uniqueArray(fc.tuple(name, tie('tree')), {
      maxLength: 5,
      selector: ([text]) => text.normalize('NFC'),
    }),
  }),
}));
const root = fc.uniqueArray(fc.tuple(name, tree), {
  maxLength: 6,
  selector: ([text]) => text.normalize('NFC'),
});

describe('zip → tar → zip → tar', () => {
  it('gives any tree back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(root, async (entries) => {
        const raw = rawEntries(entries, '');
        fc.pre(raw.every((entry) => Buffer.byteLength(entry.name) <= 1000));
        const input = buildZip(raw);
        const path = join(folder, 'input.zip');
        await writeFile(path, input);
        await checkZip(path, defaultZipLimits, new AbortController().signal);

        const extracted = await listZip(folder, input);
        expect(seen(extracted)).toEqual(expected(entries));

        const { zip, leftOut } = zipOf(streamOf(await asOutput(extracted)));
        const returned = await listZip(folder, await buffer(zip));
        expect(seen(returned)).toEqual(expected(entries));
        expect(returned.map(({ seconds }) => seconds)).toEqual(
          extracted.map(({ seconds }) => seconds),
        );
        expect(leftOut).toEqual([]);
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});

/** Folders get an entry of their own only when they are empty: the others are implied. */
function rawEntries(entries: [string, Tree][], parent: string): (RawEntry & { name: string })[] {
  return entries.flatMap(([text, node]) => {
    const path = `${parent}${text}`;
    if ('content' in node) {
      const mode = node.executable ? 0o100755 : 0o100644;
      return [{ name: path, content: node.content, mode, method: node.method }];
    }
    if (node.entries.length === 0) return [{ name: `${path}/`, mode: 0o040755 }];
    return rawEntries(node.entries, `${path}/`);
  });
}

interface Seen {
  name: string;
  mode: string;
  content: string;
}

function seen(found: Found[]): Seen[] {
  return found.slice(1).map(({ name: path, mode, content }) => ({ name: path, mode, content }));
}

function expected(entries: [string, Tree][], parent = ''): Seen[] {
  return entries.flatMap(([text, node]) => {
    const path = `${parent}${text}`;
    if ('content' in node) {
      const content = Buffer.from(node.content).toString('latin1');
      return [{ name: path, mode: node.executable ? '755' : '644', content }];
    }
    const self = { name: `${path}/`, mode: '755', content: '' };
    return [self, ...expected(node.entries, `${path}/`)];
  });
}

/** What was extracted, as an engine would give it back. */
async function asOutput(found: Found[]): Promise<Buffer> {
  return outputTar(
    found.slice(1).map(({ name: path, type, mode, content, seconds }) => ({
      name: `output/${path}`,
      type: type as 'file' | 'directory',
      mode: parseInt(mode, 8),
      mtime: new Date(seconds * 1000),
      ...(type === 'file' ? { content: Buffer.from(content, 'latin1') } : {}),
    })),
  );
}
