import { crc32 } from 'node:zlib';
import type { ZipRefusal, ZipRules } from '../src/index.js';
import {
  buildZip,
  buildZip64End,
  extraField,
  flag,
  unicodeName,
  type RawEntry,
} from './zip-builder.js';

interface HostileZip {
  what: string;
  zip: Buffer;
  reason: ZipRefusal;
  /** The entry at fault, counted from 1; undefined when it is the zip as a whole. */
  entry?: number;
  rules?: Partial<ZipRules>;
}

const honest: RawEntry = { name: 'honest', content: 'content' };

/** A second entry after an honest one. */
const second = (what: string, reason: ZipRefusal, entry: RawEntry): HostileZip => ({
  what,
  zip: buildZip([honest, entry]),
  reason,
  entry: 2,
});

const named = (name: string | Buffer, reason: ZipRefusal): HostileZip =>
  second(`the name ${JSON.stringify(name.toString('latin1' as never)).slice(0, 40)}`, reason, {
    name,
  });

const ofMode = (what: string, mode: number, reason: ZipRefusal, name = 'x'): HostileZip =>
  second(what, reason, { name, mode });

const pair = (what: string, reason: ZipRefusal, ...names: string[]): HostileZip => ({
  what,
  zip: buildZip(names.map((name) => ({ name }))),
  reason,
  entry: names.length,
});

const whole = (
  what: string,
  reason: ZipRefusal,
  zip: Buffer,
  rules: Partial<ZipRules> = {},
): HostileZip => ({ what, zip, reason, rules });

/** What the parser cannot read is put down to the entry that it stopped at. */
const atEntry = (entry: number, hostile: HostileZip): HostileZip => ({ ...hostile, entry });

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const sound = buildZip([honest]);

/** One zip or more for each reason that the gate's first reading can give. */
export const hostileZips: readonly HostileZip[] = [
  whole('nothing', 'not_a_zip', Buffer.alloc(0)),
  whole('text', 'not_a_zip', Buffer.from('not a zip at all, but longer than an end record is')),
  whole(
    'another format',
    'not_a_zip',
    Buffer.from('\x1f\x8b\x08\x00 and so on, as gzip does', 'latin1'),
  ),
  whole('cut after its first entry', 'truncated', sound.subarray(0, 60)),
  whole('cut one byte before its end', 'truncated', sound.subarray(0, -1)),
  whole('followed by something', 'malformed', Buffer.concat([sound, Buffer.from('x')])),
  whole('one of several disks', 'malformed', buildZip([honest], { disk: 1 })),
  atEntry(
    2,
    whole('more entries stated than there are', 'malformed', buildZip([honest], { entryCount: 2 })),
  ),
  whole('a ZIP64 end past the file', 'malformed', buildZip64End(2n ** 40n)),
  whole('a ZIP64 end past all numbers', 'malformed', buildZip64End(2n ** 63n - 1n)),
  second('an extra field longer than its record', 'malformed', {
    name: 'x',
    extra: Buffer.from([1, 0, 200, 0, 0]),
  }),
  second('a ZIP64 size that is missing', 'malformed', {
    name: 'x',
    bytes: 0xffffffff,
    extra: extraField(1, Buffer.alloc(0)),
  }),

  second('encrypted', 'encrypted', { name: 'x', flags: flag.encrypted }),
  second('strongly encrypted', 'encrypted', { name: 'x', flags: flag.strong }),
  second('a masked directory', 'encrypted', { name: 'x', flags: flag.masked }),
  second('deflate64', 'unknown_method', { name: 'x', method: 9 }),
  second('bzip2', 'unknown_method', { name: 'x', method: 12 }),
  second('zstandard', 'unknown_method', { name: 'x', method: 93 }),

  named('', 'empty_name'),
  named('a//b', 'empty_name'),
  named('a//', 'empty_name'),
  named('/etc/passwd', 'absolute_name'),
  named('//host/share', 'absolute_name'),
  named('/', 'empty_name'),
  named('C:\\x', 'backslash'),
  named('C:/x', 'drive_name'),
  named('c:x', 'drive_name'),
  named('..\\..\\x', 'backslash'),
  named('a\\b', 'backslash'),
  named('a\0.txt', 'control_character'),
  named('a\nb', 'control_character'),
  named('a\x7f', 'control_character'),
  named('a\u0085b', 'control_character'),
  named('.', 'dot_component'),
  named('./a', 'dot_component'),
  named('a/./b', 'dot_component'),
  named('..', 'traversal'),
  named('../a', 'traversal'),
  named('a/../../b', 'traversal'),
  named('a/..', 'traversal'),
  named('../', 'traversal'),
  named(latin1('a\xff'), 'invalid_utf8'),
  named(latin1('a\xc0\xaf'), 'invalid_utf8'),
  named(latin1('\xed\xa0\x80'), 'invalid_utf8'),
  named('a'.repeat(256), 'component_too_long'),
  named(`${'ü'.repeat(128)}/b`, 'component_too_long'),
  named(`${'a'.repeat(200)}/`.repeat(6), 'path_too_long'),
  second('a control character in code page 437', 'control_character', {
    name: latin1('a\x01'),
    flags: 0,
    madeBy: 20,
  }),
  second('another name in the extra field', 'traversal', {
    name: 'harmless',
    extra: unicodeName(Buffer.from('harmless'), Buffer.from('../harmful')),
  }),
  second('an extra field that is not UTF-8', 'invalid_utf8', {
    name: 'x',
    extra: unicodeName(Buffer.from('x'), latin1('\xff')),
  }),

  pair('a name twice', 'duplicate_name', 'a', 'b', 'a'),
  pair('a folder twice', 'duplicate_name', 'a/', 'a/'),
  pair('a name in two normalisations', 'duplicate_name', 'caf\u00e9', 'cafe\u0301'),
  pair('a folder in two normalisations', 'duplicate_name', 'caf\u00e9/a', 'cafe\u0301/b'),
  pair('a file and a folder', 'file_and_folder', 'a', 'a/'),
  pair('a folder and a file', 'file_and_folder', 'a/', 'a'),
  pair('a file in a file', 'file_and_folder', 'a', 'a/b'),
  pair('a file in the place of a folder', 'file_and_folder', 'a/b/c', 'a/b'),

  ofMode('a symbolic link', 0o120777, 'symlink'),
  ofMode('a symbolic link named as a folder', 0o120777, 'symlink', 'x/'),
  ofMode('a fifo', 0o010644, 'special_file'),
  ofMode('a character device', 0o020644, 'special_file'),
  ofMode('a block device', 0o060644, 'special_file'),
  ofMode('a socket', 0o140644, 'special_file'),
  ofMode('no known type', 0o170644, 'special_file'),
  ofMode('a folder by its mode only', 0o040755, 'kind_mismatch'),
  ofMode('a folder by its name only', 0o100644, 'kind_mismatch', 'x/'),
  second('a symbolic link of another system', 'symlink', { name: 'x', mode: 0o120777, madeBy: 20 }),
  second('a folder with content', 'folder_with_content', { name: 'x/', content: 'content' }),
  second('a stored file of two sizes', 'size_mismatch', { name: 'x', content: 'abc', bytes: 4 }),

  whole('many entries', 'too_many_entries', buildZip([honest, { name: 'b' }]), { maxEntries: 1 }),
  whole('many entries stated', 'too_many_entries', buildZip([honest], { entryCount: 60_000 })),
  atEntry(
    1,
    whole('many implied folders', 'too_many_entries', buildZip([{ name: 'a/b/c/d' }]), {
      maxEntries: 2,
    }),
  ),
  whole('large content', 'too_large', buildZip([honest]), { maxUnzippedBytes: 6 }),
  whole('a size past all numbers', 'too_large', buildZip([huge()])),
  whole('a bomb', 'ratio', buildZip([{ ...honest, method: 8, bytes: 2 ** 30 }])),
  whole('no entry', 'no_file', buildZip([])),
  whole('folders only', 'no_file', buildZip([{ name: 'a/' }, { name: 'a/b/' }])),
];

/** Says in its ZIP64 field that it is as large as 64 bits allow. */
function huge(): RawEntry {
  const size = Buffer.alloc(8, 0xff);
  return { name: 'x', method: 8, bytes: 0xffffffff, crc: crc32(''), extra: extraField(1, size) };
}
