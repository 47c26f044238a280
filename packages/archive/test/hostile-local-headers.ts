import { atEntry, honest, latin1, second, whole, type HostileZip } from './hostile-zip.js';
import {
  buildZip,
  descriptor,
  flag,
  unicodeName,
  zip64Field,
  type RawEntry,
} from './zip-builder.js';

const full = 0xffffffff;

/** A streamed entry, honest where nothing else is said. */
const streamed = (content: string, entry: Partial<RawEntry> = {}): RawEntry => ({
  name: 'streamed',
  content,
  flags: flag.utf8 | flag.descriptor,
  local: { crc: 0, bytes: 0, packedBytes: 0 },
  descriptor: descriptor(content),
  ...entry,
});

/** Local headers and descriptors that say something else than the directory. */
export const hostileLocalHeaders: readonly HostileZip[] = [
  second('another name in the local header', 'header_mismatch', {
    name: 'x',
    local: { name: 'y' },
  }),
  second('a longer name in the local header', 'header_mismatch', {
    name: 'x',
    local: { name: '../x' },
  }),
  second('another method in the local header', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { method: 8 },
  }),
  second('another size in the local header', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { bytes: 2 },
  }),
  second('another packed size in the local header', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { packedBytes: 2 },
  }),
  second('another checksum in the local header', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { crc: 1 },
  }),
  second('encrypted in the local header', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { flags: flag.encrypted },
  }),
  second('streamed in the local header only', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { flags: flag.utf8 | flag.descriptor },
  }),
  second('another encoding in the local header', 'header_mismatch', {
    name: 'ü',
    madeBy: 20,
    local: { flags: 0 },
  }),
  second('a flag without a meaning in one of two headers', 'header_mismatch', {
    name: 'x',
    local: { flags: flag.utf8 | 0x200 },
  }),
  second('UTF-8 in one of two headers that could be', 'header_mismatch', {
    name: 'ü',
    local: { flags: 0 },
  }),
  second('a second name in the local header', 'header_mismatch', {
    name: latin1('\x81'),
    flags: 0,
    local: { extra: unicodeName(latin1('\x81'), Buffer.from('日')) },
  }),
  second('a ZIP64 size in the local header only', 'header_mismatch', {
    name: 'x',
    content: 'abc',
    local: { bytes: full, packedBytes: full, extra: zip64Field(4, 3) },
  }),
  second('a damaged extra field in the local header', 'bad_extra', {
    name: 'x',
    local: { extra: Buffer.from([1, 0, 9, 0]) },
  }),
  atEntry(1, whole('no local header', 'header_mismatch', withoutHeader())),

  atEntry(
    1,
    whole(
      'no descriptor',
      'descriptor_mismatch',
      buildZip([streamed('abc', { descriptor: Buffer.alloc(0) })]),
    ),
  ),
  atEntry(
    1,
    whole(
      'a descriptor with another checksum',
      'descriptor_mismatch',
      buildZip([streamed('abc', { descriptor: descriptor('abc', { crc: 1 }) })]),
    ),
  ),
  atEntry(
    1,
    whole(
      'a descriptor with another size',
      'descriptor_mismatch',
      buildZip([streamed('abc', { descriptor: descriptor('abc', { bytes: 4 }) })]),
    ),
  ),
  atEntry(
    1,
    whole(
      'a long descriptor with another size',
      'descriptor_mismatch',
      buildZip([streamed('abc', { descriptor: descriptor('abc', { long: true, packed: 4 }) })]),
    ),
  ),
  atEntry(
    1,
    whole(
      'a descriptor with another signature',
      'descriptor_mismatch',
      buildZip([
        streamed('abc', {
          descriptor: Buffer.concat([latin1('xxxx'), descriptor('abc', { signed: false })]),
        }),
      ]),
    ),
  ),
  atEntry(
    1,
    whole(
      'a descriptor that is cut',
      'descriptor_mismatch',
      buildZip([streamed('abc', { descriptor: descriptor('abc').subarray(0, 14) })]),
    ),
  ),
  whole(
    'bytes behind a descriptor',
    'hidden_data',
    buildZip([
      streamed('abc', {
        descriptor: Buffer.concat([descriptor('abc', { long: true }), latin1('x')]),
      }),
    ]),
  ),
  atEntry(
    1,
    whole(
      'a size beside the descriptor',
      'header_mismatch',
      buildZip([streamed('abc', { local: { crc: 0, bytes: 2, packedBytes: 0 } })]),
    ),
  ),
  second('a descriptor that is not announced', 'hidden_data', {
    name: 'x',
    content: 'abc',
    descriptor: descriptor('abc'),
  }),
];

function withoutHeader(): Buffer {
  const zip = buildZip([honest]);
  zip.writeUInt32LE(0x08074b50, 0);
  return zip;
}
