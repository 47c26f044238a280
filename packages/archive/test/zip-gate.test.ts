import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openFilesBelow, testFolder, waitUntil } from '@inference-server/testing';
import { createZipGate, defaultZipLimits, type ZipGate } from '../src/index.js';
import { longNames } from './long-names.js';
import { buildZip } from './zip-builder.js';

const { signal } = new AbortController();
const largeBytes = 2 ** 29;
let folder: string;
let large: string;

beforeAll(async () => {
  folder = await testFolder();
  large = join(folder, 'large.zip');
  await writeLarge(large);
});

afterEach(async () => {
  // A thread that was ended gives its descriptors back a moment later.
  const closed = async () => (await openFilesBelow(folder)).length === 0;
  expect(await waitUntil(closed, { timeoutMs: 5_000 })).toBe(true);
});

describe('the gate', () => {
  it('gives what was found back from its thread', async () => {
    const gate = createGate(1);
    const good = await write('good.zip', buildZip([{ name: 'a', content: 'x' }]));
    const bad = await write('bad.zip', buildZip([{ name: 'a', content: 'x', crc: 1 }]));
    expect(await gate.check(good, defaultZipLimits, signal)).toEqual({
      summary: { files: 1, folders: 0, unzippedBytes: 1 },
    });
    expect(await gate.check(bad, defaultZipLimits, signal)).toEqual({
      finding: { reason: 'crc_mismatch', entry: 1, offset: 31 },
    });
    expect(await gate.check(large, noRatio, signal)).toEqual({
      summary: { files: 1, folders: 0, unzippedBytes: largeBytes },
    });
  });

  it('takes small zips at once while large ones wait for a thread', async () => {
    const gate = createGate(1);
    const small = await write('small.zip', buildZip([{ name: 'a' }]));
    let done = 0;
    const larges = [1, 2, 3].map(() =>
      gate.check(large, noRatio, signal).then(() => {
        done += 1;
      }),
    );
    let mostOpen = 0;
    const watch = setInterval(() => {
      void openFilesBelow(large).then((files) => {
        mostOpen = Math.max(mostOpen, files.length);
      });
    }, 10);
    await gate.check(small, defaultZipLimits, signal);
    expect(done).toBeLessThan(3);
    await Promise.all(larges);
    clearInterval(watch);
    expect(mostOpen).toBe(1);
  });

  it.each<[what: string, makeZip: () => Buffer]>([
    ['content', () => buildZip([{ name: 'a', content: Buffer.alloc(2 ** 28), method: 8 }])],
    [
      'to inflate to little',
      () => buildZip([{ name: 'a', packed: emptyBlocks(2 ** 23), method: 8 }]),
    ],
    [
      'names',
      () => buildZip(Array.from({ length: 20_000 }, (_, index) => ({ name: `file-${index}` }))),
    ],
  ])('takes small zips before short files with much %s', async (_what, makeZip) => {
    const gate = createGate(1);
    const much = await write('much.zip', makeZip());
    const small = await write('small.zip', buildZip([{ name: 'a' }]));
    let done = 0;
    const checks = [1, 2, 3].map(async () => {
      expect(await gate.check(much, noRatio, signal)).toHaveProperty('summary');
      done += 1;
    });
    expect(await gate.check(small, defaultZipLimits, signal)).toHaveProperty('summary');
    expect(done).toBeLessThan(3);
    await Promise.all(checks);
  });

  it('finds out what takes more memory than a thread has, and goes on', async () => {
    const gate = createGate(1);
    const path = await write('names.zip', longNames(45_000));
    expect(await gate.check(path, defaultZipLimits, signal)).toEqual({
      finding: { reason: 'too_much_memory' },
    });
    const few = await write('few-names.zip', longNames(2_500));
    expect(await gate.check(few, defaultZipLimits, signal)).toEqual({
      summary: { files: 2_500, folders: 3, unzippedBytes: 0 },
    });
  }, 120_000);

  it('drops a zip that nobody wants any more, in work or in line', async () => {
    const gate = createGate(1);
    const stops = [new AbortController(), new AbortController()];
    const why = new Error('the caller is gone');
    const checks = stops.map((stop) => gate.check(large, noRatio, stop.signal));
    const ends = Promise.allSettled(checks);
    expect(await waitUntil(isOpen, { timeoutMs: 5_000 })).toBe(true);
    for (const stop of stops) stop.abort(why);
    expect(await ends).toEqual([
      { status: 'rejected', reason: why },
      { status: 'rejected', reason: why },
    ]);
    // The next one has a thread again.
    expect(await gate.check(large, noRatio, signal)).toHaveProperty('summary');
  });

  it('says no to an abort that came before', async () => {
    const why = new Error('before');
    const checking = createGate(1).check(large, noRatio, AbortSignal.abort(why));
    await expect(checking).rejects.toBe(why);
  });

  it('says INTERNAL when the file cannot be read', async () => {
    const gate = createGate(1);
    const absent = gate.check(join(folder, 'absent.zip'), defaultZipLimits, signal);
    await expect(absent).rejects.toMatchObject({ code: 'INTERNAL' });
    const aFolder = gate.check(folder, defaultZipLimits, signal);
    await expect(aFolder).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('cuts off what is in work when it is closed', async () => {
    const gate = createZipGate({ threads: 1 });
    const checking = expect(gate.check(large, noRatio, signal)).rejects.toMatchObject({
      code: 'INTERNAL',
    });
    expect(await waitUntil(isOpen, { timeoutMs: 5_000 })).toBe(true);
    await gate.close();
    await checking;
  });
});

/**
 * Blocks of nothing, each with codes of its own, which are what takes the longest to inflate: 11 bytes or
 * so that give no content.
 */
function emptyBlocks(bytes: number): Buffer {
  let bits = 0n;
  let length = 0n;
  const write = (value: number, count: number) => {
    bits |= BigInt(value) << length;
    length += BigInt(count);
  };
  // As many as end at a whole byte.
  for (let block = 0; block < 8; block++) {
    // Not the last; own codes; 257 literals, 1 distance, 18 lengths of code lengths.
    write(0, 1);
    write(2, 2);
    write(0, 10);
    write(14, 4);
    // Two of these: of the lengths 18 (many zeros) and 1.
    for (let at = 0; at < 18; at++) write(at === 2 || at === 17 ? 1 : 0, 3);
    // 138 and 118 zeros, then 1 for the end of the block and 1 for the distance; then that end.
    for (const zeros of [138, 118]) {
      write(1, 1);
      write(zeros - 11, 7);
    }
    write(0, 3);
  }
  const unit = Buffer.from(bits.toString(16).padStart(Number(length / 4n), '0'), 'hex').reverse();
  const blocks = Buffer.alloc(Math.floor(bytes / unit.length) * unit.length, unit);
  return Buffer.concat([blocks, Buffer.from([3, 0])]);
}

const noRatio = { ...defaultZipLimits, maxRatio: Infinity };
const isOpen = async () => (await openFilesBelow(folder)).length > 0;

function createGate(threads: number): ZipGate {
  const gate = createZipGate({ threads });
  onTestFinished(() => gate.close());
  return gate;
}

async function write(name: string, zip: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, zip);
  return path;
}

/** A stored file of zeros, which takes no room on the disk but takes its time to be read. */
async function writeLarge(path: string): Promise<void> {
  const block = Buffer.alloc(2 ** 20);
  let crc = 0;
  for (let at = 0; at < largeBytes; at += block.length) crc = crc32(block, crc);
  const name = 'zeros';
  const contentAt = 30 + name.length;
  const zip = buildZip([{ name, bytes: largeBytes, packedBytes: largeBytes, crc }], {
    directoryOffset: contentAt + largeBytes,
  });
  const file = await open(path, 'w');
  try {
    await file.write(zip, 0, contentAt, 0);
    await file.write(zip, contentAt, zip.length - contentAt, contentAt + largeBytes);
  } finally {
    await file.close();
  }
}
