import { crc32 } from 'node:zlib';
import fc from 'fast-check';

/** What is done to a zip; `other` is one to take from. The zip may be changed in place. */
export type Damage = (zip: Buffer, other: Buffer) => Buffer;

/** A record of a zip by its signature, and the numbers in its fixed part. */
interface RecordKind {
  signature: number;
  /** Of the fixed part. */
  bytes: number;
  fields: readonly (readonly [at: number, bytes: 2 | 4 | 8])[];
}

const local: RecordKind = {
  signature: 0x04034b50,
  bytes: 30,
  fields: [
    ...([
      [4, 2],
      [6, 2],
      [8, 2],
      [10, 2],
      [12, 2],
    ] as const),
    ...([
      [14, 4],
      [18, 4],
      [22, 4],
      [26, 2],
      [28, 2],
    ] as const),
  ],
};
const central: RecordKind = {
  signature: 0x02014b50,
  bytes: 46,
  fields: [
    ...([
      [4, 2],
      [6, 2],
      [8, 2],
      [10, 2],
      [12, 2],
      [14, 2],
    ] as const),
    ...([
      [16, 4],
      [20, 4],
      [24, 4],
      [28, 2],
      [30, 2],
      [32, 2],
    ] as const),
    ...([
      [34, 2],
      [36, 2],
      [38, 4],
      [42, 4],
    ] as const),
  ],
};
const end: RecordKind = {
  signature: 0x06054b50,
  bytes: 22,
  fields: [
    [4, 2],
    [6, 2],
    [8, 2],
    [10, 2],
    [12, 4],
    [16, 4],
    [20, 2],
  ],
};
const kinds: readonly RecordKind[] = [
  ...[local, central, central, end],
  {
    signature: 0x08074b50,
    bytes: 16,
    fields: [
      [4, 4],
      [8, 4],
      [12, 4],
    ],
  },
  {
    signature: 0x07064b50,
    bytes: 20,
    fields: [
      [4, 4],
      [8, 8],
      [16, 4],
    ],
  },
  {
    signature: 0x06064b50,
    bytes: 56,
    fields: [
      [4, 8],
      [12, 2],
      [14, 2],
      [16, 4],
      [20, 4],
      [24, 8],
      [32, 8],
      [40, 8],
      [48, 8],
    ],
  },
];

const pick = <T>(all: readonly T[], at: number): T | undefined => all[at % all.length];

/** Where the records of a kind begin; also those that only look so. */
function find(zip: Buffer, { signature, bytes }: RecordKind): number[] {
  const mark = Buffer.alloc(4);
  mark.writeUInt32LE(signature);
  const found: number[] = [];
  for (let at = zip.indexOf(mark); at >= 0; at = zip.indexOf(mark, at + 1)) {
    if (at + bytes <= zip.length) found.push(at);
  }
  return found;
}

/** The name of an entry and, behind it, its extra fields. */
function variablePart(zip: Buffer, kind: RecordKind, at: number): { name: Buffer; extra: Buffer } {
  const lengths = kind === local ? 26 : 28;
  const name = at + kind.bytes;
  const extra = name + zip.readUInt16LE(at + lengths);
  const end = extra + zip.readUInt16LE(at + lengths + 2);
  return { name: zip.subarray(name, extra), extra: zip.subarray(extra, end) };
}

const interesting = [
  0n,
  1n,
  2n,
  8n,
  9n,
  0x7fn,
  0x800n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
].concat([0xfffffffen, 0xffffffffn, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]);

/** A new number for a field: another near it, the size of something, or an odd one. */
function changed(value: bigint, zip: Buffer, how: number, which: number): bigint {
  switch (how % 5) {
    case 0:
      return value + 1n;
    case 1:
      return value - 1n;
    case 2:
      return value ^ (1n << BigInt(which % 64));
    case 3:
      return BigInt(which % (zip.length + 1));
    default:
      return pick(interesting, which) ?? 0n;
  }
}

function readNumber(zip: Buffer, at: number, bytes: 2 | 4 | 8): bigint {
  if (bytes === 8) return zip.readBigUInt64LE(at);
  return BigInt(zip.readUIntLE(at, bytes));
}

function writeNumber(zip: Buffer, at: number, bytes: 2 | 4 | 8, value: bigint): void {
  const short = BigInt.asUintN(8 * bytes, value);
  if (bytes === 8) zip.writeBigUInt64LE(short, at);
  else zip.writeUIntLE(Number(short), at, bytes);
}

const numbers = fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.nat());

const changeField = numbers.map(([kindAt, recordAt, fieldAt, how]): Damage => (zip) => {
  const kind = pick(kinds, kindAt) ?? end;
  const at = pick(find(zip, kind), recordAt);
  const field = pick(kind.fields, fieldAt);
  if (at === undefined || field === undefined) return zip;
  const [offset, bytes] = field;
  const value = readNumber(zip, at + offset, bytes);
  writeNumber(zip, at + offset, bytes, changed(value, zip, how, how >>> 3));
  return zip;
});

/** The fields that stand in both headers of an entry: where in the local one, where in the other. */
const shared = [
  [4, 6, 2],
  [6, 8, 2],
  [8, 10, 2],
  [10, 12, 2],
  [12, 14, 2],
  [14, 16, 4],
  [18, 20, 4],
  [22, 24, 4],
] as const;

/** A lie that both headers tell. */
const changeBothHeaders = numbers.map(([recordAt, fieldAt, how, which]): Damage => (zip) => {
  const [inLocal, inCentral, bytes] = pick(shared, fieldAt) ?? shared[0];
  const [locals, centrals] = [find(zip, local), find(zip, central)];
  const [one, other] = [pick(locals, recordAt), pick(centrals, recordAt)];
  if (one === undefined || other === undefined || locals.length !== centrals.length) return zip;
  const value = changed(readNumber(zip, other + inCentral, bytes), zip, how, which);
  writeNumber(zip, one + inLocal, bytes, value);
  writeNumber(zip, other + inCentral, bytes, value);
  return zip;
});

const letters = Buffer.from('a/.\\:\0\n\x7f\x80\x81\xc3\xa9\xff-D ;1', 'latin1');

/** Another letter in the name, in one header or in both. */
const changeName = numbers.map(([recordAt, letterAt, letter, where]): Damage => (zip) => {
  const [locals, centrals] = [find(zip, local), find(zip, central)];
  for (const [kind, all, bit] of [
    [local, locals, 1],
    [central, centrals, 2],
  ] as const) {
    const at = pick(all, recordAt);
    if (at === undefined || (where % 8 !== 0 && where % 4 === bit)) continue;
    const { name } = variablePart(zip, kind, at);
    if (name.length > 0) name[letterAt % name.length] = pick([...letters], letter) ?? 0;
  }
  return zip;
});

/** Another byte in the extra fields, in one header or in both. */
const changeExtra = numbers.map(([recordAt, byteAt, byte, where]): Damage => (zip) => {
  for (const [kind, bit] of [
    [local, 1],
    [central, 2],
  ] as const) {
    const at = pick(find(zip, kind), recordAt);
    if (at === undefined || where % 4 === bit) continue;
    const { extra } = variablePart(zip, kind, at);
    if (extra.length > 0) extra[byteAt % extra.length] = byte & 0xff;
  }
  return zip;
});

/** The version, the name, or the raw name with a checksum that fits, of a name in an extra field. */
const changeSecondName = numbers.map(([recordAt, what, letterAt, letter]): Damage => (zip) => {
  for (const kind of [local, central]) {
    const withField = find(zip, kind).flatMap((at) => {
      const { name, extra } = variablePart(zip, kind, at);
      const start = extra.indexOf('up', 0, 'latin1');
      return start < 0 || start + 10 > extra.length
        ? []
        : [{ name, field: extra.subarray(start + 4) }];
    });
    const found = pick(withField, recordAt);
    if (found === undefined) continue;
    const { name, field } = found;
    const changed = [field.subarray(0, 1), field.subarray(5), name, name][what % 4] ?? name;
    const versions = [0, 1, 2, 255];
    const byte = pick(what % 4 === 0 ? versions : [...letters], letter) ?? 0;
    if (changed.length > 0) changed[letterAt % changed.length] = byte;
    field.writeUInt32LE(crc32(name), 1);
  }
  return zip;
});

/** One record of the directory again, or left out, or in the place of another; the end told of it. */
const moveRecord = numbers.map(([from, to, how, honest]): Damage => (zip) => {
  const starts = find(zip, central);
  const lengths = starts.map((at) => {
    const { name, extra } = variablePart(zip, central, at);
    return 46 + name.length + extra.length + zip.readUInt16LE(at + 32);
  });
  const [source, target] = [from % Math.max(1, starts.length), to % Math.max(1, starts.length)];
  const [at, length, place] = [starts[source], lengths[source], starts[target]];
  if (at === undefined || length === undefined || place === undefined) return zip;
  const record = Buffer.from(zip.subarray(at, at + length));
  const removed = Buffer.concat([zip.subarray(0, at), zip.subarray(at + length)]);
  const into = how % 3 === 0 ? zip : removed;
  if (how % 3 === 1) return honest % 4 === 0 ? into : tellEnd(into, -length, -1);
  const shift = how % 3 === 2 && place > at ? (lengths[target] ?? 0) - length : 0;
  const moved = Buffer.concat([
    into.subarray(0, place + shift),
    record,
    into.subarray(place + shift),
  ]);
  return how % 3 === 2 || honest % 4 === 0 ? moved : tellEnd(moved, length, 1);
});

/** The end says that the directory is so much longer and has so many more records. */
function tellEnd(zip: Buffer, bytes: number, records: number): Buffer {
  const at = find(zip, end).at(-1);
  if (at === undefined) return zip;
  for (const field of [8, 10]) {
    writeNumber(zip, at + field, 2, readNumber(zip, at + field, 2) + BigInt(records));
  }
  writeNumber(zip, at + 12, 4, readNumber(zip, at + 12, 4) + BigInt(bytes));
  return zip;
}

/** Another byte in what is packed in an entry. */
const changeContent = numbers.map(([recordAt, byteAt, byte]): Damage => (zip) => {
  const at = pick(find(zip, local), recordAt);
  if (at === undefined) return zip;
  const { name, extra } = variablePart(zip, local, at);
  const index = at + local.bytes + name.length + extra.length + (byteAt % 40);
  if (index < zip.length) zip[index] = byte & 0xff;
  return zip;
});

const setByte = fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]): Damage => (zip) => {
  if (zip.length > 0) zip[at % zip.length] = byte;
  return zip;
});

const flipBit = fc.tuple(fc.nat(), fc.nat(7)).map(([at, bit]): Damage => (zip) => {
  const index = at % Math.max(1, zip.length);
  if (zip.length > 0) zip[index] = (zip[index] ?? 0) ^ (1 << bit);
  return zip;
});

const cut = fc
  .tuple(fc.nat(), fc.nat(60), fc.boolean())
  .map(([at, length, rest]): Damage => (zip) => {
    const from = at % (zip.length + 1);
    return Buffer.concat([zip.subarray(0, from), zip.subarray(rest ? zip.length : from + length)]);
  });

const insert = fc
  .tuple(fc.nat(), fc.uint8Array({ maxLength: 40 }))
  .map(([at, bytes]): Damage => (zip) => {
    const into = at % (zip.length + 1);
    return Buffer.concat([zip.subarray(0, into), bytes, zip.subarray(into)]);
  });

/** The beginning of one zip and the end of another; or one whole zip in another. */
const splice = fc
  .tuple(fc.nat(), fc.nat(), fc.boolean())
  .map(([to, from, whole]): Damage => (zip, other) => {
    const [into, out] = [to % (zip.length + 1), from % (other.length + 1)];
    const parts = whole ? [other, zip.subarray(into)] : [other.subarray(out)];
    return Buffer.concat([zip.subarray(0, into), ...parts]);
  });

/** A piece of the zip once more in another place. */
const copyPiece = fc
  .tuple(fc.nat(), fc.nat(60), fc.nat())
  .map(([from, length, to]): Damage => (zip) => {
    const [at, into] = [from % (zip.length + 1), to % (zip.length + 1)];
    return Buffer.concat([
      zip.subarray(0, into),
      zip.subarray(at, at + length),
      zip.subarray(into),
    ]);
  });

export const damage: fc.Arbitrary<Damage> = fc.oneof(
  { weight: 5, arbitrary: changeField },
  { weight: 4, arbitrary: changeBothHeaders },
  { weight: 4, arbitrary: changeName },
  { weight: 3, arbitrary: changeExtra },
  { weight: 2, arbitrary: changeSecondName },
  { weight: 3, arbitrary: moveRecord },
  { weight: 2, arbitrary: changeContent },
  ...[setByte, flipBit, cut, insert, splice, copyPiece],
);
