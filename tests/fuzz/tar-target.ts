import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { checkZip, tarToZip } from '@inference-server/archive';
import { AppError } from '@inference-server/errors';
import { base256, octal, paxRecords, rawTar, type RawEntry } from './raw-tar.js';
import type { FuzzRun } from './run-cases.js';
import { watchStrayErrors } from './stray-errors.js';

/**
 * Turns made and damaged tars into zips: each ends in time and within memory, either as a zip that
 * the gate accepts or as an AppError, with every line about what was left out a short one. Throws
 * with the seed, the case and what was wrong otherwise.
 */
export async function fuzzTar({ cases, seed, onCase }: FuzzRun): Promise<{ accepted: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'fuzz-tar-'));
  const before = process.memoryUsage.rss();
  const strays = watchStrayErrors();
  let accepted = 0;
  let done = 0;
  try {
    const property = fc.asyncProperty(tarCase, async (made) => {
      onCase?.();
      if (await convert(made, join(folder, 'output.zip'))) accepted += 1;
      strays.throwAny();
      done += 1;
      const growth = done % 100 === 0 ? process.memoryUsage.rss() - before : 0;
      if (growth > maxGrowthBytes) throw new Error(`memory has grown by ${growth} bytes`);
    });
    const found = await fc.check(property, { seed, numRuns: cases, endOnFailure: true });
    if (!found.failed) return { accepted };
    // The counterexample itself is thousands of bytes: seed and case make it again.
    throw new Error(`seed ${seed}, case ${found.counterexamplePath ?? '?'}`, {
      cause: found.errorInstance,
    });
  } finally {
    strays.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const maxGrowthBytes = 512 * 1024 ** 2;
const caseTimeMs = 5_000;
const maxLineLength = 450;

interface TarCase {
  tar: Buffer;
  /** What stands for the tar of every hard link. */
  linked: Buffer;
  chunkBytes: number;
  maxBytes: number;
  maxEntries: number;
}

/** Whether a zip came of it. */
async function convert(made: TarCase, path: string): Promise<boolean> {
  const { maxBytes, maxEntries, chunkBytes } = made;
  const source = streamOf(made.tar, chunkBytes);
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort();
  }, caseTimeMs);
  let zip: Buffer;
  try {
    zip = await buffer(
      tarToZip(source, {
        signal: late.signal,
        maxBytes,
        maxEntries,
        onLeftOut: (line) => {
          const isShort = line.length <= maxLineLength && !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(line);
          if (!isShort) throw new Error(`a line of ${line.length}: ${line.slice(0, 100)}`);
        },
        openHardLink: () => Promise.resolve(streamOf(made.linked, chunkBytes)),
      }),
    );
  } catch (error) {
    if (late.signal.aborted) throw new Error('it took too long', { cause: error });
    if (!(error instanceof AppError)) throw error;
    // A slip of the program that was taken for a damaged tar.
    if (isSlip(error.cause)) throw error;
    return false;
  } finally {
    clearTimeout(timer);
  }
  if (!source.destroyed) throw new Error('the tar was left open');
  writeFileSync(path, zip);
  const limits = { maxUnzippedBytes: maxBytes, maxEntries, maxRatio: Infinity };
  const answer: unknown = await checkZip(path, limits, late.signal);
  if (typeof answer === 'object' && answer !== null && 'finding' in answer) {
    throw new Error(`the gate refuses the zip: ${JSON.stringify(answer.finding)}`);
  }
  return true;
}

function isSlip(cause: unknown): boolean {
  return [TypeError, RangeError, ReferenceError].some((kind) => cause instanceof kind);
}

function streamOf(bytes: Buffer, chunkBytes: number): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    chunks.push(bytes.subarray(at, at + chunkBytes));
  }
  return Readable.from(chunks, { objectMode: false });
}

const text = (value: string) => Buffer.from(value);
const filling = Buffer.alloc(1500, 'content ');

const component = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'c', 'd1', 'run.sh', 'größe', 'x y') },
  fc.constantFrom('é', 'e\u0301', '..', '.', '', 'C:', 'a\\b', 'a\nb', '\x1b[31m', '\u202e', '�'),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('n'.repeat(255), 'n'.repeat(256), 'ü'.repeat(128)),
);
const path = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  },
  fc.constantFrom('deep/'.repeat(250), '/etc/passwd', '../secret'),
);
const name = fc.oneof(
  { weight: 12, arbitrary: path.map((inside) => text(`output/${inside}`)) },
  path.map(text),
  fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
);
const number = (bytes: number) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.nat(3000).map((value) => octal(value, bytes - 1)) },
    fc.bigInt(-(2n ** 80n), 2n ** 80n).map((value) => base256(value, bytes)),
    fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((field) => Buffer.from(field)),
    fc.constantFrom(text(''), text('77777777777'), text('   12 '), text('9x'), text('-1')),
  );
const usual = { padded: true, checksum: 'right', magic: 'ustar', prefix: Buffer.alloc(0) } as const;
const mode = fc.constantFrom(text('0000644'), text('0000755'), text('0000000'), text('0006777'));

/** An entry as engines write them: what it says is so. */
const soundEntry = fc
  .record({
    name,
    type: fc.constantFrom('0', '0', '0', '0', '5', '5', '1', '2', '3', '4', '6', '7', 'S', 'V'),
    linkName: name,
    mode,
    modified: number(12),
    content: fc.nat(1500).map((length) => filling.subarray(0, length)),
  })
  .map((entry): RawEntry => {
    const content = '07SV'.includes(entry.type) ? entry.content : Buffer.alloc(0);
    return { ...usual, ...entry, content, size: octal(content.length, 11) };
  });

/** A header whose fields need not fit each other. */
const strangeEntry: fc.Arbitrary<RawEntry> = fc.record({
  name,
  type: fc.oneof(
    fc.constantFrom('0', '1', '2', '5', '6', 'x', 'g', 'L', 'K', 'N', 'D', 'M'),
    fc.nat(255).map((code) => String.fromCharCode(code)),
  ),
  linkName: name,
  prefix: fc.oneof(fc.constant(Buffer.alloc(0)), name),
  size: number(12),
  mode: number(8),
  modified: number(12),
  magic: fc.constantFrom('ustar', 'ustar', 'gnu', 'gnu', 'none'),
  checksum: fc.constantFrom('right', 'right', 'right', 'right', 'wrong'),
  content: fc.nat(1500).map((length) => filling.subarray(0, length)),
  padded: fc.boolean(),
});

const extension = (type: string, content: Buffer): RawEntry => ({
  ...usual,
  name: text('extension'),
  type,
  linkName: Buffer.alloc(0),
  size: octal(content.length, 11),
  mode: text('0000644'),
  modified: octal(0, 11),
  content,
});
const paxValue = fc.oneof(
  name,
  fc.constantFrom('0', '5', '-1', '1e3', 'NaN', '99999999999999999999', '0x10', ' 7', '').map(text),
);
const paxEntry = fc
  .tuple(
    fc.constantFrom('x', 'x', 'x', 'g'),
    fc.array(
      fc.tuple(
        fc.constantFrom('path', 'path', 'linkpath', 'size', 'mtime', '__proto__', 'comment'),
        paxValue,
      ),
      { maxLength: 4 },
    ),
  )
  .map(([type, records]) => extension(type, paxRecords(records)));
const rawPaxEntry = fc
  .tuple(
    fc.constantFrom('x', 'g'),
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom('-9 path=a\n', '99999 path=a\n', '5 a=\n5 ', '1 a', '0 a=b\n', '12path=a\n')
        .map(text),
    ),
  )
  .map(([type, content]) => extension(type, content));
/** Its size is stated, its content is not there. */
const hugePaxEntry = fc
  .constantFrom(4 * 2 ** 20, 4 * 2 ** 20 + 1, 2 ** 30)
  .map((bytes) => ({ ...extension('x', Buffer.alloc(0)), size: octal(bytes, 11) }));
const gnuEntry = fc
  .tuple(fc.constantFrom('L', 'K', 'N'), name)
  .map(([type, long]) => extension(type, Buffer.concat([long, Buffer.alloc(1)])));

const entries = (sound: number) =>
  fc.array(
    fc.oneof(
      { weight: sound, arbitrary: soundEntry },
      { weight: 2, arbitrary: paxEntry },
      { weight: 2, arbitrary: gnuEntry },
      strangeEntry,
      rawPaxEntry,
      hugePaxEntry,
    ),
    { maxLength: 8 },
  );
const rootEntry: RawEntry = {
  ...extension('5', Buffer.alloc(0)),
  name: text('output/'),
  mode: text('0000755'),
};

type Damage = (tar: Buffer) => Buffer;
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }).map((share): Damage => {
    return (tar) => tar.subarray(0, Math.floor(share * tar.length));
  }),
  fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]): Damage => (tar) => {
    if (tar.length > 0) tar[at % tar.length] = byte;
    return tar;
  }),
  fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 40 })).map(([at, bytes]): Damage => (tar) => {
    const cut = at % (tar.length + 1);
    return Buffer.concat([tar.subarray(0, cut), bytes, tar.subarray(cut)]);
  }),
  fc.tuple(fc.nat(), fc.nat()).map(([from, to]): Damage => (tar) => {
    const block = (at: number) => 512 * (at % (Math.floor(tar.length / 512) + 1));
    return Buffer.concat([tar.subarray(0, block(from)), tar.subarray(block(to))]);
  }),
);

const tarBytes = fc
  .tuple(
    fc.oneof({ weight: 20, arbitrary: fc.constant([rootEntry]) }, fc.constant([])),
    fc.oneof(
      { weight: 2, arbitrary: fc.array(soundEntry, { maxLength: 8 }) },
      entries(20),
      entries(2),
    ),
    fc.constantFrom(2, 2, 2, 2, 2, 20, 1, 0),
    fc.oneof(
      { weight: 3, arbitrary: fc.constant<Damage[]>([]) },
      fc.array(damage, { minLength: 1, maxLength: 3 }),
    ),
  )
  .map(([root, made, end, damages]) =>
    damages.reduce((tar, change) => change(tar), rawTar([...root, ...made], end)),
  );

const linkedFile = soundEntry.map((entry) =>
  rawTar([{ ...entry, type: '0', size: octal(entry.content.length, 11) }], 2),
);
const tarCase: fc.Arbitrary<TarCase> = fc.record({
  tar: tarBytes,
  linked: fc.oneof({ weight: 3, arbitrary: linkedFile }, tarBytes),
  chunkBytes: fc.constantFrom(1024 ** 2, 65_536, 1000, 512, 100),
  maxBytes: fc.constantFrom(1_000_000, 1_000_000, 1_000_000, 5_000, 0),
  maxEntries: fc.constantFrom(1000, 1000, 1000, 5, 0),
});
