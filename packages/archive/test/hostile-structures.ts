import { deflateRawSync } from 'node:zlib';
import { atEntry, honest, latin1, second, whole, type HostileZip } from './hostile-zip.js';
import { buildZip, extraField, zip64End, zip64Field, type RawEntry } from './zip-builder.js';

const sound = buildZip([honest]);
const other = buildZip([{ name: 'other', content: 'of another zip' }]);
const endOf = (zip: Buffer) => zip.subarray(-22);
const full = 0xffffffff;
/** Its third bit says that the attributes of the entry follow: those of a link. */
/** unzip makes a link of it, or what else the mode says, where the directory has no mode. */
const asiMode = (mode: number) => {
  const data = Buffer.alloc(14);
  data.writeUInt16LE(mode, 4);
  return extraField(0x756e, data);
};
const libarchiveLink = { extra: extraField(0x6c78, latin1('\x04\0\0\xff\xa1')) };

/** Ends and directories that lie, and places that overlap, so that two readers could find two different zips. */
export const hostileStructures: readonly HostileZip[] = [
  whole('nothing', 'not_a_zip', Buffer.alloc(0)),
  whole('text', 'not_a_zip', Buffer.from('not a zip at all, but longer than an end record is')),
  whole('another format', 'not_a_zip', latin1('\x1f\x8b\x08\x00 and so on, as gzip does')),
  whole('cut after its first entry', 'truncated', sound.subarray(0, 60)),
  whole('cut one byte before its end', 'truncated', sound.subarray(0, -1)),
  whole('cut at its beginning', 'bad_directory', sound.subarray(1)),
  whole('a hole in its middle', 'bad_directory', cut(buildZip([honest, honest]), 20, 30)),
  whole('followed by something', 'trailing_data', Buffer.concat([sound, Buffer.from('x')])),
  whole('followed by zeros', 'trailing_data', Buffer.concat([sound, Buffer.alloc(512)])),
  whole('filled up with more than zeros', 'trailing_data', filledUp(sound, 10_240, 1)),
  whole('filled up by more than is needed', 'trailing_data', filledUp(sound, 20_480, 0)),
  whole('followed by another zip', 'prefixed_data', Buffer.concat([other, sound])),
  whole('behind a program', 'prefixed_data', Buffer.concat([latin1('#!/bin/sh\n'), sound])),
  whole('behind a program that it knows of', 'prefixed_data', knowsItsPrefix()),
  whole(
    'an empty zip behind something',
    'prefixed_data',
    Buffer.concat([latin1('xx'), endOf(buildZip([]))]),
  ),
  whole('bytes before the directory', 'hidden_data', buildZip([honest], { gap: latin1('hidden') })),
  whole(
    'the signatures of an Android package',
    'hidden_data',
    buildZip([honest], { gap: signingBlock() }),
  ),
  whole(
    'bytes behind the directory',
    'hidden_data',
    buildZip([honest], { beforeEnd: () => latin1('hidden') }),
  ),
  whole(
    'bytes between two entries',
    'hidden_data',
    buildZip([{ ...honest, descriptor: latin1('x') }, { name: 'b' }]),
  ),
  whole('an entry that the directory leaves out', 'hidden_data', hiddenEntry()),
  whole(
    'a signature block before the end',
    'hidden_data',
    buildZip([honest], { beforeEnd: () => latin1('PK\x05\x05\x00\x00') }),
  ),

  whole(
    'an end record in the comment',
    'ambiguous_end',
    buildZip([honest], { comment: endOf(other) }),
  ),
  whole('a zip in the comment', 'ambiguous_end', buildZip([honest], { comment: other })),
  whole(
    'the signature of an end in the comment',
    'ambiguous_end',
    buildZip([honest], { comment: latin1('PK\x05\x06') }),
  ),
  whole(
    'an end record in the comment of an entry',
    'ambiguous_end',
    buildZip([{ ...honest, comment: reachingEnd(22) }]),
  ),
  whole('one of several disks', 'multi_disk', buildZip([honest], { disk: 1 })),
  whole(
    'one of so many disks that it has no number',
    'multi_disk',
    buildZip([honest], { disk: 0xffff }),
  ),
  whole(
    'one of several disks beside a ZIP64 end',
    'multi_disk',
    buildZip([honest], { beforeEnd: (directory) => zip64End(directory), disk: 1 }),
  ),
  second('an entry on another disk', 'multi_disk', { name: 'x', disk: 1 }),
  whole(
    'fewer entries on this disk',
    'entry_count',
    buildZip([honest, { name: 'b' }], { entriesHere: 1 }),
  ),
  whole('more entries stated than there are', 'entry_count', buildZip([honest], { entryCount: 2 })),
  whole(
    'fewer entries stated than there are',
    'entry_count',
    buildZip([honest, { name: 'b' }], { entryCount: 1 }),
  ),
  whole('no entries stated', 'entry_count', buildZip([honest], { entryCount: 0 })),
  whole('a directory of another size', 'hidden_data', buildZip([honest], { directoryBytes: 40 })),
  whole(
    'a directory that is longer',
    'bad_directory',
    buildZip([honest], { directoryBytes: 5000 }),
  ),
  whole('a directory elsewhere', 'bad_directory', buildZip([honest], { directoryOffset: 5000 })),
  whole(
    'a directory past all numbers',
    'bad_directory',
    buildZip([honest], { directoryOffset: full, directoryBytes: full }),
  ),
  atEntry(
    1,
    whole(
      'a directory of something else',
      'bad_directory',
      buildZip([honest], { directoryOffset: 0, directoryBytes: sound.length - 22 }),
    ),
  ),
  atEntry(1, whole('a comment that leaves the directory', 'bad_directory', lengthOfFirst(32, 500))),
  atEntry(1, whole('a name that leaves the directory', 'bad_directory', lengthOfFirst(28, 500))),

  whole('a ZIP64 end past the file', 'bad_zip64', zip64({ at: 2n ** 40n })),
  whole('a ZIP64 end past all numbers', 'bad_zip64', zip64({ at: 2n ** 63n - 1n })),
  whole('a ZIP64 end elsewhere', 'bad_zip64', zip64({ at: 0n })),
  whole('a ZIP64 end of no disk', 'bad_zip64', zip64({ disks: 0 })),
  whole('a ZIP64 end of two disks', 'bad_zip64', zip64({ disks: 2 })),
  whole('a ZIP64 end of another size', 'bad_zip64', zip64({ size: 60 })),
  whole('a ZIP64 end with another count', 'bad_zip64', zip64({ entries: 2 })),
  whole('a ZIP64 end with another directory', 'bad_zip64', zip64({ offset: 0 })),
  whole(
    'a ZIP64 count past all numbers',
    'entry_count',
    zip64({ entries: 2 ** 52 }, { entryCount: 0xffff }),
  ),
  whole(
    'a ZIP64 directory past all numbers',
    'bad_directory',
    zip64({ bytes: 2 ** 52 }, { directoryBytes: full }),
  ),
  second('a ZIP64 size that is missing', 'bad_zip64', {
    name: 'x',
    bytes: full,
    extra: extraField(1, Buffer.alloc(0)),
  }),
  ...['a ZIP64 size that is half there', 'a ZIP64 field of half a number'].flatMap(
    (what, index) => {
      const extra = extraField(1, Buffer.alloc(4));
      const entry = { name: 'x', ...(index === 0 ? { bytes: full } : {}) };
      return [
        second(what, 'bad_extra', { ...entry, extra }),
        second(`${what}, in the local header`, 'bad_extra', {
          name: 'x',
          local: { ...entry, extra },
        }),
      ];
    },
  ),
  second('a ZIP64 field of another length', 'bad_zip64', {
    name: 'x',
    extra: extraField(1, Buffer.alloc(9)),
  }),
  second('a ZIP64 size beside another', 'bad_zip64', {
    name: 'x',
    content: 'abc',
    extra: zip64Field(4, 3),
  }),
  second('a ZIP64 size that is the other one when read in order', 'bad_zip64', {
    name: 'x',
    content: 'aaaaaaaaaaaaaaaaaaaaaaaa',
    method: 8,
    packedBytes: full,
    extra: zip64Field(24, deflateRawSync('a'.repeat(24)).length),
  }),
  second('no ZIP64 field', 'bad_zip64', { name: 'x', method: 8, bytes: full }),
  ...[
    ...[asiMode(0o120777), asiMode(0o020644)].map((extra, at): HostileZip =>
      second(`a mode in an extra field, ${at}`, at === 0 ? 'symlink' : 'special_file', {
        ...{ name: 'a', content: '/etc/passwd', extra },
      }),
    ),
    second('a mode of a folder in an extra field', 'kind_mismatch', {
      ...{ name: 'a', extra: asiMode(0o040755) },
    }),
    second('a mode in an extra field of the local header alone', 'header_mismatch', {
      ...{ name: 'a', local: { extra: asiMode(0o120777) } },
    }),
    second('two modes in extra fields', 'bad_extra', {
      ...{ name: 'a', extra: Buffer.concat([asiMode(0o100644), asiMode(0o120777)]) },
    }),
    second('a mode that is cut in an extra field', 'bad_extra', {
      ...{ name: 'a', extra: extraField(0x756e, Buffer.alloc(5)) },
    }),
  ],
  ...[libarchiveLink, { local: libarchiveLink }].map((field, at) =>
    second(`a link for libarchive alone${at === 0 ? '' : ', in the local header'}`, 'bad_extra', {
      name: 'a',
      content: '/etc/passwd',
      ...field,
    }),
  ),
  second('two ZIP64 fields', 'bad_extra', {
    name: 'x',
    method: 8,
    bytes: full,
    extra: Buffer.concat([zip64Field(0), zip64Field(1)]),
  }),
  second('a ZIP64 position past all numbers', 'overlap', {
    name: 'x',
    offset: full,
    extra: zip64Field(2n ** 62n),
  }),
  second('an extra field longer than its record', 'bad_extra', {
    name: 'x',
    extra: Buffer.from([1, 0, 200, 0, 0]),
  }),
  second('the rest of an extra field', 'bad_extra', { name: 'x', extra: Buffer.from([1, 2]) }),

  atEntry(
    1,
    second('content at the place of an earlier one', 'overlap', {
      ...honest,
      name: 'x',
      offset: 0,
    }),
  ),
  atEntry(1, second('content within an earlier one', 'overlap', { name: 'x', offset: 10 })),
  second('content at no place', 'overlap', { name: 'x', offset: 0xfffffff0 }),
  second('content beyond the file', 'overlap', {
    name: 'x',
    content: 'x',
    method: 8,
    packedBytes: 5000,
    local: { packedBytes: 3 },
  }),
  second('content into the directory', 'overlap', {
    name: 'x',
    content: 'x',
    bytes: 2,
    packedBytes: 2,
    crc: 0,
  }),
  atEntry(1, whole('a bomb of overlapping entries', 'overlap', overlappingBomb())),
  atEntry(1, whole('an entry around the next one', 'overlap', quoting())),
];

/** Between the last entry and the directory: its length, pairs, the length again and a magic. */
function signingBlock(): Buffer {
  const scheme = Buffer.alloc(8 + 4 + 100, 's');
  scheme.writeBigUInt64LE(BigInt(scheme.length - 8), 0);
  scheme.writeUInt32LE(0x7109871a, 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(scheme.length + 24));
  return Buffer.concat([length, scheme, length, latin1('APK Sig Block 42')]);
}

/** Zeros up to the length, the last byte as given. */
function filledUp(zip: Buffer, length: number, last: number): Buffer {
  const bytes = Buffer.concat([zip], length);
  bytes[length - 1] = last;
  return bytes;
}

function cut(zip: Buffer, from: number, to: number): Buffer {
  return Buffer.concat([zip.subarray(0, from), zip.subarray(to)]);
}

/** All its positions take the prefix into account. */
function knowsItsPrefix(): Buffer {
  const prefix = latin1('#!/bin/sh\n');
  const directory = buildZip([{ ...honest, offset: prefix.length }], {
    directoryOffset: prefix.length + 43,
  });
  return Buffer.concat([prefix, directory]);
}

/** Its local header and content are there, between those of two others. */
function hiddenEntry(): Buffer {
  const three = buildZip([{ name: 'a' }, { name: 'b', content: '?' }, { name: 'c' }]);
  const at = three.indexOf('PK\x01\x02', 0, 'latin1');
  const record = cut(three, at + 47, at + 94);
  record.writeUInt16LE(2, record.length - 14);
  record.writeUInt16LE(2, record.length - 12);
  record.writeUInt32LE(94, record.length - 10);
  return record;
}

/** The end record of another zip with a comment that takes in all that follows. */
function reachingEnd(following: number): Buffer {
  const end = Buffer.from(endOf(other));
  end.writeUInt16LE(following, 20);
  return end;
}

function lengthOfFirst(field: number, length: number): Buffer {
  const zip = Buffer.from(sound);
  zip.writeUInt16LE(length, zip.indexOf('PK\x01\x02', 0, 'latin1') + field);
  return zip;
}

function zip64(
  lies: Parameters<typeof zip64End>[1],
  end: { entryCount?: number; directoryBytes?: number } = {},
): Buffer {
  return buildZip([honest], { beforeEnd: (directory) => zip64End(directory, lies), ...end });
}

/** Every entry names the same content. */
function overlappingBomb(): Buffer {
  const kernel: RawEntry = { name: '0', content: Buffer.alloc(60_000), method: 8 };
  const others = Array.from({ length: 50 }, (_, index) => ({
    ...kernel,
    name: String(index + 1),
    offset: 0,
  }));
  return buildZip([kernel, ...others]);
}

/** The content of the first one holds the second one's local header. */
function quoting(): Buffer {
  const inner = buildZip([{ name: 'inner', content: 'x' }]).subarray(0, 36);
  return buildZip([
    { name: 'outer', content: inner },
    { name: 'inner', content: 'x', offset: 35 },
  ]);
}
