import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { checkZip, defaultZipLimits, tarToZip, zipToTar } from '../src/index.js';
import { tarEnd, tarHeader, tarPadding } from '../src/tar-header.js';
import { fixChecksum } from './fix-checksum.js';

const { signal } = new AbortController();
const run = promisify(execFile);
const noise = randomBytes(65_536);
const zeros = Buffer.alloc(65_536);
let folder: string;

beforeAll(async () => {
  folder = await testFolder();
});

describe('memory', () => {
  it.each([
    ['what packs', zeros],
    ['what does not pack', noise],
  ])(
    'stays flat while a gibibyte of %s goes in and out',
    async (_what, block) => {
      const files = [{ name: 'large', bytes: 2 ** 30, first: block, rest: block }];
      const path = join(folder, 'gibibyte.zip');
      const there = await growthOf(writeSparse(path, zipped(files)));
      const limits = { ...defaultZipLimits, maxRatio: Infinity };
      const back = await growthOf(countBytes(zipToTar(path, { limits, signal })));
      await rm(path);
      expect(back.result).toBeGreaterThan(2 ** 30);
      // An eighth of what passes: the collector alone lets some 70 MiB lie, whatever the size.
      expect([there.mebibytes, back.mebibytes].filter((growth) => growth >= 128)).toEqual([]);
    },
    120_000,
  );

  it('holds a name and a record of each of 50,000 entries, and no content', async () => {
    const files = Array.from({ length: 50_000 }, (_, index) => ({
      name: `folder-${index % 100}/file with a name ${index}`,
      bytes: 4000,
      first: noise,
      rest: noise,
    }));
    const path = join(folder, 'many.zip');
    const there = await growthOf(writeSparse(path, zipped(files)));
    const back = await growthOf(countBytes(zipToTar(path, { limits: defaultZipLimits, signal })));
    expect(await checkZip(path, defaultZipLimits, signal)).toMatchObject({
      summary: { files: 50_000 },
    });
    await rm(path);
    // 200 MB of content.
    expect([there.mebibytes, back.mebibytes].filter((growth) => growth >= 128)).toEqual([]);
  }, 120_000);
});

describe('ten million entries', () => {
  it.each([
    ['are refused at the limit, before they have come', 50_000, /too many files/],
    ['cost no memory each when they are only left out', Infinity, undefined],
  ])(
    '%s',
    async (_what, maxEntries, refusal) => {
      let left = 0;
      let sent = 0;
      const modified = new Date(0);
      const block = tarHeader({ name: 'output/pipe', mode: 0o644, bytes: 0, modified });
      block.write('6', 156);
      fixChecksum(block);
      const chunk = Buffer.concat(Array.from({ length: 1000 }, () => block));
      const tar = (function* () {
        yield tarHeader({ name: 'output/', mode: 0o755, bytes: 0, modified });
        for (; sent < (refusal ? 10_000 : 1_000); sent += 1) yield chunk;
        yield tarEnd;
      })();
      const zip = tarToZip(Readable.from(tar, { objectMode: false }), {
        signal,
        maxBytes: 2 ** 40,
        maxEntries,
        onLeftOut: () => (left += 1),
      });
      const { result, mebibytes } = await growthOf(
        countBytes(zip).catch((error: unknown) => String(error)),
      );
      if (refusal === undefined) expect([result, left]).toEqual([22, 1_000_000]);
      else expect(result).toMatch(refusal);
      expect(sent).toBeLessThan(refusal ? 100 : 1_001);
      expect(mebibytes).toBeLessThan(128);
    },
    300_000,
  );
});

describe('a zip beyond 4 GiB', () => {
  const bytes = 2 ** 32 + 5;
  const files = [
    // The beginning does not pack, so that it is stored; the rest takes no room on the disk.
    { name: 'large', bytes, first: noise, rest: zeros },
    { name: 'after', bytes: 10, first: noise, rest: noise },
  ];
  let path: string;

  beforeAll(async () => {
    path = join(folder, 'large.zip');
    await writeSparse(path, zipped(files));
  }, 120_000);

  it('is written in ZIP64 and read back whole', async () => {
    expect((await stat(path)).size).toBeGreaterThan(2 ** 32);
    const summary = { files: 2, folders: 0, unzippedBytes: bytes + 10 };
    expect(await checkZip(path, defaultZipLimits, signal)).toEqual({ summary });
    const tar = zipToTar(path, { limits: defaultZipLimits, signal });
    expect(await countBytes(tar)).toBeGreaterThan(bytes);
  }, 120_000);

  it.runIf(existsSync('/usr/bin/unzip'))('is sound to Info-ZIP', async () => {
    // The large one takes it half a minute.
    const { stdout } = await run('/usr/bin/unzip', ['-p', path, 'after'], { encoding: 'buffer' });
    expect(stdout.equals(noise.subarray(0, 10))).toBe(true);
  });

  it.runIf(existsSync('/usr/bin/7z'))(
    'is sound to 7-Zip',
    async () => {
      const { stdout } = await run('/usr/bin/7z', ['t', path]);
      expect(stdout).toContain('Everything is Ok');
      expect(stdout).not.toMatch(/warning/i);
    },
    120_000,
  );

  it.runIf(existsSync('/usr/bin/python3'))(
    'is sound to Python',
    async () => {
      const script = 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).testzip())';
      const { stdout } = await run('/usr/bin/python3', ['-c', script, path]);
      expect(stdout).toBe('None\n');
    },
    120_000,
  );
});

interface LargeFile {
  name: string;
  bytes: number;
  /** The content: this, then the other one over and over. */
  first: Buffer;
  rest: Buffer;
}

function zipped(files: LargeFile[]): Readable {
  return tarToZip(Readable.from(tarOf(files), { objectMode: false }), {
    signal: new AbortController().signal,
    maxBytes: 2 ** 40,
    maxEntries: 50_000,
    onLeftOut: (line) => expect.unreachable(line),
  });
}

function* tarOf(files: LargeFile[]): Generator<Buffer> {
  const modified = new Date(0);
  yield tarHeader({ name: 'output/', mode: 0o755, bytes: 0, modified });
  for (const { name, bytes, first, rest } of files) {
    yield tarHeader({ name: `output/${name}`, mode: 0o644, bytes, modified });
    for (let at = 0; at < bytes; at += first.length) {
      yield (at === 0 ? first : rest).subarray(0, Math.min(first.length, bytes - at));
    }
    const padding = tarPadding(bytes);
    if (padding.length > 0) yield padding;
  }
  yield tarEnd;
}

/** Writes a stream to a file and leaves holes for what is zero. */
async function writeSparse(path: string, stream: Readable): Promise<void> {
  const file = await open(path, 'w');
  try {
    let at = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      const isHole = chunk.equals(zeros.subarray(0, chunk.length));
      if (!isHole) await file.write(chunk, 0, chunk.length, at);
      at += chunk.length;
    }
    await file.truncate(at);
  } finally {
    await file.close();
  }
}

async function countBytes(stream: Readable): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) bytes += chunk.length;
  return bytes;
}

/** How far the process's resident memory rises above where it was while `work` goes on. */
async function growthOf<T>(work: Promise<T>): Promise<{ result: T; mebibytes: number }> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const sampler = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20);
  try {
    const result = await work;
    return { result, mebibytes: (peak - before) / 2 ** 20 };
  } finally {
    clearInterval(sampler);
  }
}
