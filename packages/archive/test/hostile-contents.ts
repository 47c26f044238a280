import { crc32, deflateRawSync } from 'node:zlib';
import { atEntry, honest, second, whole, type HostileZip } from './hostile-zip.js';
import { buildZip, flag, zip64Field, type RawEntry } from './zip-builder.js';

const text = Buffer.from('some text that packs, some text that packs');
const packed = deflateRawSync(text);
const large = Buffer.alloc(300_000, 'a line of a file that is large\n');

/** Contents that are not what they say, that cannot be read, or that are too much. */
export const hostileContents: readonly HostileZip[] = [
  second('encrypted', 'encrypted', { name: 'x', flags: flag.encrypted }),
  second('strongly encrypted', 'encrypted', { name: 'x', flags: flag.strong }),
  second('a masked directory', 'encrypted', { name: 'x', flags: flag.masked }),
  second('deflate64', 'unknown_method', { name: 'x', method: 9 }),
  second('bzip2', 'unknown_method', { name: 'x', method: 12 }),
  second('zstandard', 'unknown_method', { name: 'x', method: 93 }),
  second('a patch', 'unknown_method', { name: 'x', flags: flag.utf8 | 0x20 }),
  second('a later version', 'unknown_version', { name: 'x', version: 64 }),
  second('a version for VMS alone', 'unknown_version', { name: 'x', version: 0x0214 }),
  second('a later version for VMS alone', 'unknown_version', { name: 'x', version: 0x0235 }),
  second('a folder with content', 'folder_with_content', { name: 'x/', content: 'content' }),
  second('a folder with packed content', 'size_mismatch', {
    name: 'x/',
    method: 8,
    packed,
    crc: 0,
  }),

  second('a stored file of two sizes', 'size_mismatch', { name: 'x', content: 'abc', bytes: 4 }),
  second('another checksum', 'crc_mismatch', { name: 'x', content: text, crc: 1 }),
  second('another checksum, deflated', 'crc_mismatch', {
    name: 'x',
    content: text,
    method: 8,
    crc: 1,
  }),
  second('a checksum of nothing', 'crc_mismatch', { name: 'x', crc: 1 }),
  second('another checksum of a large file', 'crc_mismatch', {
    name: 'x',
    content: large,
    method: 8,
    crc: 1,
  }),
  second('more content than stated', 'size_mismatch', {
    name: 'x',
    method: 8,
    packed,
    bytes: text.length - 1,
  }),
  second('less content than stated', 'size_mismatch', {
    name: 'x',
    method: 8,
    packed,
    bytes: text.length + 1,
  }),
  second('more content than stated in a large file', 'size_mismatch', {
    name: 'x',
    method: 8,
    packed: deflateRawSync(large),
    bytes: large.length - 1,
  }),
  second('less content than stated in a large file', 'size_mismatch', {
    name: 'x',
    method: 8,
    packed: deflateRawSync(large),
    bytes: large.length + 1,
  }),
  second('far more content than stated', 'size_mismatch', {
    name: 'x',
    method: 8,
    packed: deflateRawSync(Buffer.alloc(50_000_000)),
    bytes: 10,
  }),
  second('compressed data that is cut', 'bad_data', {
    name: 'x',
    content: text,
    method: 8,
    packed: packed.subarray(0, -5),
  }),
  second('compressed data that is cut in a large file', 'bad_data', {
    name: 'x',
    content: large,
    method: 8,
    packed: deflateRawSync(large).subarray(0, -5),
  }),
  second('compressed data that is none', 'bad_data', {
    name: 'x',
    content: text,
    method: 8,
    packed: Buffer.alloc(40, 0xff),
  }),
  second('compressed data of no byte', 'bad_data', {
    name: 'x',
    method: 8,
    packed: Buffer.alloc(0),
  }),
  second('bytes behind the compressed data', 'bad_data', {
    name: 'x',
    content: text,
    method: 8,
    packed: Buffer.concat([packed, Buffer.from('hidden')]),
  }),
  second('bytes behind the compressed data of a large file', 'bad_data', {
    name: 'x',
    content: large,
    method: 8,
    packed: Buffer.concat([deflateRawSync(large), Buffer.from('hidden')]),
  }),

  whole('many entries', 'too_many_entries', buildZip([honest, { name: 'b' }]), { maxEntries: 1 }),
  whole('many more entries stated', 'entry_count', buildZip([honest], { entryCount: 60_000 })),
  atEntry(
    1,
    whole('many implied folders', 'too_many_entries', buildZip([{ name: 'a/b/c/d' }]), {
      maxEntries: 2,
    }),
  ),
  whole('large content', 'too_large', buildZip([{ ...honest, content: 'x'.repeat(101) }]), {
    maxUnzippedBytes: 100,
  }),
  whole('a size past all numbers', 'too_large', buildZip([huge()])),
  whole('a bomb', 'ratio', buildZip([{ ...honest, method: 8, bytes: 2 ** 30 }])),
  whole('a bomb that tells the truth', 'ratio', buildZip([bomb()])),
  whole('no entry', 'no_file', buildZip([])),
  whole('folders only', 'no_file', buildZip([{ name: 'a/' }, { name: 'a/b/' }])),
];

/** Says in its ZIP64 field that it is as large as 64 bits allow. */
function huge(): RawEntry {
  const extra = zip64Field(2n ** 64n - 1n);
  return { name: 'x', method: 8, bytes: 0xffffffff, crc: crc32(''), extra };
}

function bomb(): RawEntry {
  return { name: 'x', method: 8, content: Buffer.alloc(65 * 2 ** 20) };
}
