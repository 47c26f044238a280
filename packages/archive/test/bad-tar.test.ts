import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import { fixChecksum } from './fix-checksum.js';
import { tarExtension } from './tar-extension.js';
import {
  directory,
  failureOf,
  hardLink,
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
      'too many hard links',
      'too_many_hard_links',
      Array.from({ length: 1001 }, (_, at) => hardLink(`output/${at}`, 'output/a')),
      { maxEntries: 2000, openHardLink: () => expect.unreachable() },
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
      'two versions of a name',
      'duplicate_name',
      [
        { name: 'output/a;1', content: '1' },
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

  it.each([
    ['no digits', Buffer.from('\0\0\0\0\0\0\0\0\0\0\x009')],
    ['a sign', Buffer.from('-0000000001\0')],
    ['a negative number', Buffer.alloc(12, 0xff)],
    ['more than any disk', Buffer.from([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])],
  ])('when a length is %s', async (_what, length) => {
    const tar = await outputTar([{ name: 'output/a', content: '' }]);
    length.copy(tar, 512 + 124);
    fixChecksum(tar.subarray(512, 1024));
    // In one chunk: a parser may have nobody left to tell of what it finds late.
    const { zip } = zipOf(streamOf(tar, tar.length));
    expect(await failureOf(buffer(zip))).toMatchObject({ code: 'INTERNAL' });
  });

  it.each([
    ['a length of its own', '31 path=output/a\n'],
    ['no length', 'path=output/a\n'],
    ['a negative length', '-9 path=output/a\n'],
    ['no name', '4 a\n'],
    ['a length that is none', '12 size=1e3\n'],
  ])('when an extended header has %s', async (_what, records) => {
    const tar = await outputTar([{ name: 'output/a', content: '' }]);
    const damaged = withExtension(tar, 'x', records);
    expect(await failureOf(buffer(zipOf(streamOf(damaged)).zip))).toMatchObject({
      code: 'INTERNAL',
    });
  });

  it.each(['x', 'g', 'L', 'K'])('when a header of type %s is to hold a gibibyte', async (type) => {
    const tar = await outputTar([{ name: 'output/a', content: '' }]);
    const huge = withExtension(tar, type, '');
    huge.write('10000000000', 512 + 124);
    fixChecksum(huge.subarray(512, 1024));
    const source = endless(huge.subarray(0, 1024), Buffer.alloc(65_536, 'x'));
    expect(await failureOf(buffer(zipOf(source.tar).zip))).toMatchObject({ code: 'INTERNAL' });
    expect(source.sent()).toBeLessThan(2 ** 20);
  });

  it('when it goes on without end: empty blocks, headers of no entry, a file', async () => {
    const tar = await outputTar([{ name: 'output/a', content: '' }]);
    const start = tar.subarray(0, 1024);
    const header = withExtension(tar, 'x', '12 path=a/b\n').subarray(512, 1536);
    for (const [block, most] of [
      [Buffer.alloc(65_536), 2 ** 25],
      [header, 2 ** 22],
    ] as const) {
      const source = endless(start, block);
      expect(await failureOf(buffer(zipOf(source.tar).zip))).toMatchObject({ code: 'INTERNAL' });
      expect(source.sent()).toBeLessThan(most);
    }
    const file = await outputTar([{ name: 'output/a', content: 'x' }]);
    file.write('77777777777', 512 + 124);
    fixChecksum(file.subarray(512, 1024));
    const source = endless(file.subarray(0, 1024), Buffer.alloc(65_536));
    expect(await failureOf(buffer(zipOf(source.tar).zip))).toMatchObject({
      extensions: { reason: 'too_large' },
    });
    expect(source.sent()).toBeLessThan(2 ** 20);
  });

  it('when something stands behind its end', async () => {
    const tar = await outputTar([{ name: 'output/a', content: 'x' }]);
    for (const junk of [Buffer.from('x'), tar.subarray(512, 1024), randomBytes(512)]) {
      const whole = Buffer.concat([tar, junk]);
      expect(await failureOf(buffer(zipOf(streamOf(whole)).zip))).toMatchObject({
        code: 'INTERNAL',
      });
    }
  });

  it('when a file shrank while it was read: the next header stands in its place', async () => {
    const tar = await outputTar([
      { name: 'output/a', content: 'x'.repeat(2000) },
      { name: 'output/b', content: 'y' },
    ]);
    const shrunk = Buffer.concat([tar.subarray(0, 1024 + 512), tar.subarray(1024 + 2048)]);
    expect(await failureOf(buffer(zipOf(streamOf(shrunk)).zip))).toMatchObject({
      code: 'INTERNAL',
    });
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

/** Puts a header of another type, with content, before the second entry of a tar. */
function withExtension(tar: Buffer, type: string, content: string): Buffer {
  return Buffer.concat([tar.subarray(0, 512), tarExtension(type, content), tar.subarray(512)]);
}

/** One block and then another over and over, and how much of it was taken. */
function endless(start: Buffer, block: Buffer): { tar: Readable; sent: () => number } {
  let sent = 0;
  const tar = Readable.from(
    (function* () {
      yield start;
      for (;;) {
        yield block;
        sent += block.length;
      }
    })(),
    { objectMode: false },
  );
  return { tar, sent: () => sent };
}
