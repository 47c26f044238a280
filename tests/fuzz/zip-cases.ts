import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import {
  buildZip,
  descriptor,
  extraField,
  flag,
  unicodeName,
  zip64End,
  zip64Field,
  type RawEnd,
  type RawEntry,
} from '../../packages/archive/test/zip-builder.js';
import { damage } from './zip-damage.js';
import { seedZips } from './zip-seeds.js';

const full = 0xffffffff;
const text = (value: string) => Buffer.from(value);
const latin1 = (value: string) => Buffer.from(value, 'latin1');

/** The zips of a seed, some at a time: all of them at once would take much memory. */
export function* drawZips({
  cases,
  seed,
  soundness,
}: {
  cases: number;
  seed: number;
  soundness: number;
}): Generator<Buffer> {
  const inOneGo = 500;
  const bytes = zipBytes(soundness);
  for (let from = 0; from < cases; from += inOneGo) {
    const numRuns = Math.min(inOneGo, cases - from);
    yield* fc.sample(bytes, { seed: Math.imul(seed, 1_000_003) + from, numRuns });
  }
}

const safeName = fc
  .tuple(
    fc.nat(9),
    fc.constantFrom('', '', '', 'd/', 'd/e/', 'größe/', '日本/', 'x y/'),
    fc.constantFrom('', '.txt', 'ü', '\u0308', '/', '/'),
  )
  .map(([number, folder, end]) => text(`${folder}${number}${end}`));
const strangeName = fc.oneof(
  fc
    .constantFrom('..', '../a', '/etc/passwd', 'a//b', 'C:x', 'a\\b', 'a\nb', '', '/', './a', 'a/.')
    .map(text),
  fc
    .constantFrom('d', 'd/', 'D/', 'd/e', 'caf\u00e9', 'cafe\u0301', '-rf', '\u202e', '*?')
    .map(text),
  fc
    .constantFrom('a\xff', '\x81\xe1', '\xc3\xb6', '\xed\xa0\x80', 'a\0b', '\xef\xbb\xbfa')
    .map(latin1),
  fc.constantFrom(255, 256, 1024, 1025).map((length) => Buffer.alloc(length, 'n')),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
);
/** What a reader may give a meaning to: all that ASCII has beside letters, and digits behind it. */
const punctuatedName = fc
  .string({
    unit: fc.constantFrom(...Array.from('aab01;;.:?_!"#$%&\'()*+,-<=>@[]^`{|}~ /')),
    minLength: 1,
    maxLength: 5,
  })
  .map(text);
/** Some that a reader takes for others, and some of each other with an end that one drops. */
const versionedName = fc
  .tuple(
    fc.constantFrom('a', 'b', 'd/a', 'd', '..', 'i', '\xd5', 'd\xc4/', 'd-/', '\xc2'),
    fc.constantFrom(
      '',
      ';',
      ';1',
      ';22',
      ';1;1',
      '\xff',
      '\x98',
      '_',
      '\xdc',
      '\xc4',
      '\xc1',
      '\xc3\xbc',
      '#U00fc',
    ),
  )
  .map(([start, end]) => latin1(start + end));
const name = (weight: number) =>
  fc.oneof(
    { weight, arbitrary: safeName },
    { weight: 1, arbitrary: strangeName },
    { weight: 1, arbitrary: punctuatedName },
    { weight: 1, arbitrary: versionedName },
  );

const filling = Buffer.alloc(40_000, 'content of a file, ');
const content = fc.oneof(
  { weight: 12, arbitrary: fc.nat(200).map((length) => filling.subarray(0, length)) },
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  // Past what is inflated in one go.
  fc.integer({ min: 16_000, max: 17_000 }).map((length) => filling.subarray(0, length)),
  // A zip in a zip, whose records stand where they do not count.
  fc.constantFrom(...seedZips.filter(({ length }) => length < 600)),
);
const time = extraField(0x5455, Buffer.from([1, 0x30, 0x20, 0x10, 0x65]));
const extra = fc.oneof(
  {
    weight: 60,
    arbitrary: fc.constantFrom(
      ...[Buffer.alloc(0), Buffer.alloc(0), time, extraField(0xcafe, Buffer.alloc(0))],
      ...[extraField(0x000a, Buffer.alloc(32, 1)), extraField(0x9901, text('some bytes'))],
    ),
  },
  // libarchive's own, and ASi's, with the mode of a link, and of a file.
  fc.constantFrom(
    extraField(0x6c78, latin1('\x04\0\0\xff\xa1')),
    extraField(0x756e, latin1('\0\0\0\0\xff\xa1\0\0\0\0\0\0\0\0')),
    extraField(0x756e, latin1('\0\0\0\0\xa4\x81\0\0\0\0\0\0\0\0')),
  ),
);
const madeBy = fc.constantFrom(20, (3 << 8) | 20, (3 << 8) | 63, (19 << 8) | 20, (10 << 8) | 20, 0);

type Form = 'plain' | 'signed' | 'unsigned' | 'long' | 'long unsigned' | 'zip64' | 'zip64 local';
const form = fc.constantFrom<Form>(
  ...(['plain', 'plain', 'plain', 'signed', 'signed', 'unsigned', 'long'] as const),
  ...(['long unsigned', 'zip64', 'zip64 local'] as const),
);

/** An entry of which all is true. */
const soundEntry = (nameWeight: number) =>
  fc
    .record({
      ...{ name: name(nameWeight), content, extra, madeBy, form },
      method: fc.constantFrom(0, 8),
      flags: fc.constantFrom(flag.utf8, flag.utf8, 0),
      mode: fc.constantFrom(0, 0, 0o644, 0o755),
      unicode: fc.constantFrom('none', 'none', 'none', 'none', 'none', 'same', 'other'),
    })
    .map((made): RawEntry => {
      const isFolder = made.name.at(-1) === 0x2f;
      const bytes = isFolder ? Buffer.alloc(0) : made.content;
      const packed = made.method === 8 ? deflateRawSync(bytes, { level: 1 }) : bytes;
      const kind = made.mode === 0 ? 0 : isFolder ? 0o040000 : 0o100000;
      const field = {
        none: () => Buffer.alloc(0),
        same: () => unicodeName(made.name, text(made.name.toString())),
        other: () => unicodeName(made.name, text(made.name.toString('latin1'))),
      }[made.unicode]();
      const both = Buffer.concat([made.extra, field]);
      const usual = {
        ...{ name: made.name, content: bytes, packed, method: made.method, madeBy: made.madeBy },
        ...{ flags: made.flags, extra: both, mode: made.mode | kind },
      };
      return { ...usual, ...sizesAs(made.form, bytes, packed, usual) };
    });

/** The same sizes as one of the forms says them. */
function sizesAs(
  form: Form,
  content: Buffer,
  packed: Buffer,
  { flags, extra }: { flags: number; extra: Buffer },
): Partial<RawEntry> {
  const sizes = zip64Field(content.length, packed.length);
  const truth = { crc: crc32(content), bytes: content.length, packedBytes: packed.length };
  if (form === 'plain') return { local: { extra } };
  if (form === 'zip64 local' || form === 'zip64') {
    const long = { bytes: full, packedBytes: full, extra: Buffer.concat([extra, sizes]) };
    return { ...truth, ...(form === 'zip64' ? long : {}), local: long };
  }
  const isLong = form.startsWith('long');
  const unknown = isLong
    ? { crc: 0, bytes: full, packedBytes: full, extra: Buffer.concat([extra, zip64Field(0, 0)]) }
    : { crc: 0, bytes: 0, packedBytes: 0, extra };
  return {
    flags: flags | flag.descriptor,
    local: { ...unknown, flags: flags | flag.descriptor },
    descriptor: descriptor(content, {
      ...{ packed: packed.length, long: isLong, signed: !form.endsWith('unsigned') },
    }),
  };
}

const number16 = fc.oneof(fc.constantFrom(0, 1, 8, 9, 20, 0x801, 0xffff), fc.nat(0xffff));
const number32 = fc.oneof(
  fc.constantFrom(0, 1, 3, 30, 46, 0x7fffffff, 0x80000000, full, full - 1),
  fc.nat(2000),
);
const strangeExtra = fc.oneof(
  fc
    .array(fc.oneof(fc.nat(2000), fc.bigInt(0n, 2n ** 64n - 1n)), { maxLength: 4 })
    .map((values) => zip64Field(...values)),
  name(1).map((inside) => unicodeName(text('a'), inside)),
  fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(1, 0x7075, 0x5455).map((id) => extraField(id, text('xxx'))),
);
const headerLie = fc.oneof(
  fc.record({ flags: number16 }),
  fc.record({ version: number16 }),
  fc.record({ method: number16 }),
  fc.record({ crc: number32 }),
  fc.record({ bytes: number32 }),
  fc.record({ packedBytes: number32 }),
  fc.record({ extra: strangeExtra }),
  fc.record({ bytes: fc.constant(full), packedBytes: fc.constant(full), extra: strangeExtra }),
  fc.record({ name: name(1) }),
);
const entryLie: fc.Arbitrary<(entry: RawEntry) => RawEntry> = fc.oneof(
  headerLie.map((lie) => (entry: RawEntry) => ({ ...entry, ...lie })),
  headerLie.map((lie) => (entry: RawEntry) => ({ ...entry, local: { ...entry.local, ...lie } })),
  fc
    .oneof(
      fc.record({ offset: number32 }),
      fc.record({ disk: number16 }),
      fc.record({ mode: number16 }),
      fc.record({ comment: fc.constantFrom(...seedZips.slice(-3), latin1('PK\x05\x06')) }),
      fc.record({ packed: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) }),
      fc.record({
        descriptor: fc.uint8Array({ maxLength: 26 }).map((bytes) => Buffer.from(bytes)),
      }),
    )
    .map((lie) => (entry: RawEntry) => ({ ...entry, ...lie })),
);

/** Parts of a raw name, each with what stands for it in the extra field: honest ones, and others. */
const partPairs = [
  ...[
    ['\x81', 'ü'],
    ['a\x81', 'aü'],
    ['_', '日'],
    ['?.txt', 'ü.txt'],
    ['#U65e5', '日'],
    ['a', 'a'],
  ],
  ...[
    ['\x83t', 'フ'],
    ['\x81;1', 'ü;1'],
    ['\x81', 'ü;1'],
    ['\xff', 'ÿ'],
    ['a\xff', 'aü'],
    ['', ''],
  ],
  ...[
    ['..', 'ü'],
    ['..', '..'],
    ['..\x80', 'ü'],
    ['.', 'ü'],
    ['', 'ü'],
    ['C:\x80', 'Cü'],
  ],
  ...[
    ['a\\\x80', 'aü'],
    ['\x80', '..ü'],
    ['a', 'b'],
    ['x\x80', 'y'],
    ['\x80', ''],
    ['\x81', '\x81'],
  ],
] as const;
const ends: readonly [string, string][] = [
  ...([
    ['', ''],
    ['', ''],
    ['', ''],
  ] as [string, string][]),
  ...([
    ['/', '/'],
    ['/', ''],
    ['', '/'],
  ] as [string, string][]),
];
/** A name in the extra field beside another one, of any version, in one header or in both. */
const secondName: fc.Arbitrary<(entry: RawEntry) => RawEntry> = fc
  .record({
    parts: fc.array(fc.oneof(fc.nat(11), fc.nat(partPairs.length - 1)), {
      minLength: 1,
      maxLength: 3,
    }),
    ends: fc.constantFrom<[string, string]>(...ends),
    version: fc.constantFrom(1, 1, 1, 1, 0, 2, 255),
    isEmpty: fc.nat(9).map((number) => number === 0),
    where: fc.constantFrom('both', 'both', 'directory', 'local'),
  })
  .map(({ parts, ends, version, isEmpty, where }) => (entry: RawEntry) => {
    const joined = (index: 0 | 1) =>
      parts.map((part) => partPairs[part]?.[index] ?? '').join('/') + ends[index];
    const raw = latin1(joined(0));
    const field = unicodeName(raw, text(isEmpty ? '' : joined(1)), { version });
    const extra = { extra: field };
    const isFolder = raw.at(-1) === 0x2f;
    const content = isFolder ? Buffer.alloc(0) : text('of two names');
    const { madeBy = 20 } = entry;
    return {
      ...{ name: raw, content, flags: 0, madeBy },
      ...(where === 'local' ? {} : extra),
      ...(where === 'directory' ? {} : { local: extra }),
    };
  });

const bytesOf = fc.oneof(
  fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(...seedZips.slice(-4), latin1('PK\x05\x06'), latin1('PK\x05\x05\x00\x00')),
);
type Ends = Parameters<typeof zip64End>[1];
const long = (lies: Ends) => ({
  beforeEnd: (directory: Parameters<typeof zip64End>[0]) => zip64End(directory, lies),
});
const strangeEnd: fc.Arbitrary<RawEnd> = fc.oneof(
  fc.record({ prefix: bytesOf }),
  fc.record({ gap: bytesOf }),
  fc.record({ suffix: bytesOf }),
  fc.record({ comment: bytesOf }),
  fc.record({ entryCount: fc.nat(5) }),
  fc.record({ entriesHere: number16 }),
  fc.record({ disk: number16 }),
  fc.record({ directoryBytes: number32 }),
  fc.record({ directoryOffset: number32 }),
  fc
    .oneof(
      fc.record({ entries: fc.nat(5) }),
      fc.record({ bytes: number32 }),
      fc.record({ offset: number32 }),
      fc.record({ size: number32 }),
      fc.record({ at: fc.bigInt(0n, 2n ** 64n - 1n) }),
    )
    .map(long),
);
const soundEnd: fc.Arbitrary<RawEnd> = fc.constantFrom<RawEnd>(
  ...[{}, {}, {}, { comment: text('a comment') }, long({})],
  { ...long({}), entryCount: 0xffff, directoryBytes: full, directoryOffset: full },
  { ...long({}), disk: 0xffff, entryCount: 0xffff, directoryBytes: full, directoryOffset: full },
);

const builtZip = (nameWeight: number, lies: number, ends: number) =>
  fc
    .record({
      entries: fc.array(soundEntry(nameWeight), { maxLength: 4 }),
      lies: fc.array(
        fc.tuple(fc.nat(3), fc.oneof({ weight: 4, arbitrary: entryLie }, secondName)),
        {
          maxLength: lies,
        },
      ),
      end: ends === 0 ? soundEnd : fc.oneof({ weight: ends, arbitrary: soundEnd }, strangeEnd),
    })
    .map(({ entries, lies, end }) =>
      buildZip(
        entries.map((entry, index) =>
          lies.reduce((told, [at, lie]) => (at === index ? lie(told) : told), entry),
        ),
        end,
      ),
    );

const seed = fc.constantFrom(...seedZips);

/**
 * Zips that are sound, sound with lies in them, and sound ones that were damaged. `soundness` weighs
 * the first beside the others.
 */
export function zipBytes(soundness: number): fc.Arbitrary<Buffer> {
  const sound = builtZip(30, 0, 0);
  const damaged = fc
    .tuple(fc.oneof(seed, sound), seed, fc.array(damage, { minLength: 1, maxLength: 3 }))
    .map(([zip, other, damages]) =>
      damages.reduce<Buffer>((bytes, change) => change(bytes, other), Buffer.from(zip)),
    );
  return fc.oneof(
    { weight: soundness, arbitrary: sound },
    { weight: soundness, arbitrary: builtZip(4, 0, 6) },
    { weight: 4, arbitrary: builtZip(10, 2, 4) },
    { weight: 6, arbitrary: damaged },
  );
}
