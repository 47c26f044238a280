import { createHash, randomBytes } from 'node:crypto';
import { open, readdir, readFile, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { AppError } from '@inference-server/errors';
import { openFilesBelow, testFolder } from '@inference-server/testing';
import { discardFile, receiveFile } from '../src/index.js';

const signal = new AbortController().signal;
let folder: string;

beforeEach(async () => {
  folder = await testFolder();
});

/** A stream of bytes from chunks or a generator of them. */
function streamOf(chunks: Iterable<Buffer> | AsyncIterable<Buffer>): Readable {
  return Readable.from(chunks, { objectMode: false });
}

async function expectNothingLeft(): Promise<void> {
  expect(await readdir(folder)).toEqual([]);
  expect(await openFilesBelow(folder)).toEqual([]);
}

describe('receiveFile', () => {
  it('writes what comes and tells its size and digest', async () => {
    const content = randomBytes(1_000_000);
    const file = await receiveFile(streamOf([content.subarray(0, 7), content.subarray(7)]), {
      folder,
      maxBytes: content.length,
      signal,
    });
    expect(file.bytes).toBe(content.length);
    expect(file.sha256).toBe(createHash('sha256').update(content).digest('hex'));
    expect((await readFile(file.path)).equals(content)).toBe(true);
    expect(basename(file.path)).toMatch(/^[0-9a-f-]{36}\.part$/);
    expect(await openFilesBelow(folder)).toEqual([]);
    await discardFile(file);
    await discardFile(file);
    await expectNothingLeft();
  });

  it('flushes while it comes: the same bytes, and nothing left when the source breaks', async () => {
    const chunk = randomBytes(2 ** 20);
    const chunks = Array.from({ length: 100 }, () => chunk);
    const options = { folder, maxBytes: 2 ** 30, signal, flush: true };
    const datasync = await watchDatasync(folder);
    const file = await receiveFile(streamOf(chunks), options);
    expect(datasync).toHaveBeenCalledTimes(3);
    datasync.mockRestore();
    expect((await readFile(file.path)).equals(Buffer.concat(chunks))).toBe(true);
    await discardFile(file);
    const breaking = streamOf(failingAfter(33 * 2 ** 20, new Error('connection reset')));
    await expect(receiveFile(breaking, options)).rejects.toMatchObject({
      code: 'MALFORMED_REQUEST',
    });
    await expectNothingLeft();
  });

  it('receives nothing as an empty file', async () => {
    const file = await receiveFile(streamOf([]), { folder, maxBytes: 0, signal, name: 'empty' });
    expect(file).toMatchObject({ path: join(folder, 'empty.part'), bytes: 0 });
    expect(await readFile(file.path)).toHaveLength(0);
  });

  it('refuses one byte too many', async () => {
    const source = streamOf([Buffer.alloc(10), Buffer.alloc(1), Buffer.alloc(1)]);
    await expect(receiveFile(source, { folder, maxBytes: 10, signal })).rejects.toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
    });
    await expectNothingLeft();
    // An answer may have to go out on the connection that the rest of it comes from.
    expect(source.destroyed).toBe(false);
    source.destroy();
  });

  it('stops an endless source at its limit', async () => {
    const source = streamOf(
      (function* () {
        for (;;) yield Buffer.alloc(65_536);
      })(),
    );
    await expect(
      receiveFile(source, { folder, maxBytes: 10_000_000, signal }),
    ).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    await expectNothingLeft();
  });

  it('leaves nothing of a source that fails half-way', async () => {
    const cut = new Error('read ECONNRESET');
    const source = streamOf(failingAfter(1_000_000, cut));
    const error = await receiveFile(source, { folder, maxBytes: 2_000_000, signal }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'MALFORMED_REQUEST', cause: cut });
    await expectNothingLeft();
  });

  it('passes an AppError of the source as it is', async () => {
    const why = new AppError('INVALID_FORM', 'The part is not complete.');
    const source = streamOf(failingAfter(1000, why));
    await expect(receiveFile(source, { folder, maxBytes: 2000, signal })).rejects.toBe(why);
    await expectNothingLeft();
  });

  it('leaves nothing of a source that is destroyed without an error', async () => {
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(1000));
    const receiving = receiveFile(source, { folder, maxBytes: 2000, signal });
    source.destroy();
    await expect(receiving).rejects.toMatchObject({ code: 'MALFORMED_REQUEST' });
    await expectNothingLeft();
  });

  it('leaves nothing when aborted while the source is silent', async () => {
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(1000));
    const abort = new AbortController();
    const why = new Error('the client went away');
    const receiving = receiveFile(source, { folder, maxBytes: 2000, signal: abort.signal });
    source.once('data', () => abort.abort(why));
    await expect(receiving).rejects.toBe(why);
    expect(source.destroyed).toBe(true);
    await expectNothingLeft();
  });

  it('opens no file when aborted before', async () => {
    const why = new Error('stopping');
    const source = streamOf([Buffer.alloc(10)]);
    await expect(
      receiveFile(source, { folder, maxBytes: 10, signal: AbortSignal.abort(why) }),
    ).rejects.toBe(why);
    expect(source.destroyed).toBe(true);
    await expectNothingLeft();
  });

  it('does not touch a file of its name that is there already', async () => {
    await writeFile(join(folder, 'taken.part'), 'another');
    await expect(
      receiveFile(streamOf([Buffer.from('x')]), { folder, maxBytes: 10, signal, name: 'taken' }),
    ).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await readFile(join(folder, 'taken.part'), 'utf8')).toBe('another');
  });

  it('keeps memory flat while a gibibyte passes', async () => {
    const chunk = Buffer.alloc(65_536);
    let before = 0;
    let peak = 0;
    const source = streamOf(
      (function* () {
        for (let index = 0; index < 16_384; index++) {
          // The first part lets the process reach its working size.
          if (index === 1024) before = process.memoryUsage.rss();
          if (index > 1024 && index % 64 === 0) peak = Math.max(peak, process.memoryUsage.rss());
          yield chunk;
        }
      })(),
    );
    const file = await receiveFile(source, { folder, maxBytes: 2 ** 30, signal });
    await discardFile(file);
    expect(file.bytes).toBe(2 ** 30);
    // An eighth of what passes: the collector alone lets some of it lie, whatever the size.
    expect((peak - before) / 2 ** 20).toBeLessThan(128);
  }, 120_000);
});

async function* failingAfter(bytes: number, error: Error): AsyncGenerator<Buffer> {
  yield Buffer.alloc(bytes);
  // Only after what was given has been taken.
  await new Promise((resolve) => setImmediate(resolve));
  throw error;
}

/** Sees the calls; the flush is made all the same. */
async function watchDatasync(folder: string) {
  const handle = await open(join(folder, 'any'), 'w');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  await rm(join(folder, 'any'));
  return vi.spyOn(prototype, 'datasync');
}
