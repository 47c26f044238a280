import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { fixChecksum } from './fix-checksum.js';
import {
  directory,
  failureOf,
  outputTar,
  special,
  streamOf,
  zipOf,
  type TarPart,
} from './trees.js';

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

  it('but not because of a folder that has a size', async () => {
    const tar = await outputTar([directory('output/a/'), { name: 'output/b', content: 'x' }]);
    tar.write('00000001000', 512 + 124);
    fixChecksum(tar.subarray(512, 1024));
    expect((await buffer(zipOf(streamOf(tar)).zip)).length).toBeGreaterThan(22);
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
