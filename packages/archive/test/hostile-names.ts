import type { ZipRefusal } from '../src/index.js';
import { atEntry, latin1, second, type HostileZip } from './hostile-zip.js';
import { buildZip, unicodeName, type RawEntry } from './zip-builder.js';

const named = (name: string | Buffer, reason: ZipRefusal): HostileZip =>
  second(`the name ${JSON.stringify(name.toString('latin1' as never)).slice(0, 40)}`, reason, {
    name,
  });

const pair = (what: string, reason: ZipRefusal, ...names: string[]): HostileZip => ({
  what,
  zip: buildZip(names.map((name) => ({ name }))),
  reason,
  entry: names.length,
});

/** Two entries that some reader or other writes to one place. */
const twins = (what: string, ...entries: RawEntry[]): HostileZip => ({
  what: `${what}: ${Buffer.from(entries[1]?.name as string).toString()}`,
  zip: buildZip(entries),
  reason: 'duplicate_name',
  entry: 2,
});

const ofMode = (what: string, mode: number, reason: ZipRefusal, name = 'x'): HostileZip =>
  second(what, reason, { name, mode });

/** An entry whose own name stands behind one in the extra field. */
function behind(raw: string, name: string, reason: ZipRefusal): HostileZip {
  const extra = unicodeName(latin1(raw), Buffer.from(name));
  const shown = JSON.stringify(raw).slice(0, 40);
  const what = `the name ${shown} of ${raw.length} bytes behind ${JSON.stringify(name.slice(0, 20))}`;
  return second(what, reason, { name: latin1(raw), flags: 0, extra, local: { extra } });
}

/** Names that lead elsewhere, that are two names, or that are no file's. */
export const hostileNames: readonly HostileZip[] = [
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
  named('\x1b[2Ja', 'control_character'),
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

  second('another name in the extra field', 'two_names', {
    name: 'harmless',
    flags: 0,
    extra: unicodeName(Buffer.from('harmless'), Buffer.from('../harmful')),
  }),
  second('another kind of file in the extra field', 'two_names', {
    name: 'program.sh',
    flags: 0,
    extra: unicodeName(Buffer.from('program.sh'), Buffer.from('größe.txt')),
  }),
  second('another name beside letters that the first cannot spell', 'two_names', {
    name: latin1('program\x94.sh'),
    flags: 0,
    extra: unicodeName(latin1('program\x94.sh'), Buffer.from('ö.txt')),
  }),
  second('another UTF-8 name than the flagged one', 'two_names', {
    name: 'ü',
    extra: unicodeName(Buffer.from('ü'), Buffer.from('ä')),
  }),
  second('another folder in the extra field', 'two_names', {
    name: latin1('\x81'),
    flags: 0,
    extra: unicodeName(latin1('\x81'), Buffer.from('folder/ü')),
  }),
  behind('../\x81', '../ü', 'traversal'),
  // Letters of the raw name that no letter of the other stands for.
  behind('../\x80\x80', 'ü/ü', 'traversal'),
  behind('/\x80', 'ü/ü', 'absolute_name'),
  behind('/etc/\x80\x80\x80', 'ü/etc/ü', 'absolute_name'),
  behind('./\x80', 'ü/ü', 'dot_component'),
  behind('a\\\x80', 'aü', 'backslash'),
  behind('C:\x80\x80', 'Cü', 'drive_name'),
  behind('a//\x80', 'a/ü/ü', 'empty_name'),
  behind('', 'ü', 'empty_name'),
  behind('..', 'ü..', 'traversal'),
  behind('d\x80/', 'd/ü', 'two_names'),
  behind('d\x80/x', 'd/üx', 'two_names'),
  behind('x.sh\x80\x80\x80\x80', 'ü', 'two_names'),
  behind('\x80:x', 'üx', 'two_names'),
  // Shift JIS with the byte of a backslash in it: other readers know of no Shift JIS.
  behind('\x83\x5c\x83\x74.txt', 'ソフ.txt', 'backslash'),
  behind('\x80'.repeat(256), 'ü', 'component_too_long'),
  behind('\x80'.repeat(60_000), 'ü', 'component_too_long'),
  behind('\x80/'.repeat(600), 'ü/'.repeat(100), 'path_too_long'),
  behind('\x80', 'ü'.repeat(128), 'component_too_long'),
  behind('\x80\x81', 'ü\u0085', 'control_character'),
  second('an extra field that is not UTF-8', 'invalid_utf8', {
    name: 'x',
    extra: unicodeName(Buffer.from('x'), latin1('\xff')),
  }),
  second('two extra fields with a name', 'bad_extra', {
    name: latin1('\x81'),
    flags: 0,
    extra: Buffer.concat([
      unicodeName(latin1('\x81'), Buffer.from('ü')),
      unicodeName(latin1('\x81'), Buffer.from('ä')),
    ]),
  }),

  ...[
    { version: 0, name: 'ü' },
    { version: 2, name: 'ü' },
    { version: 255, name: 'ü' },
    { version: 2, name: '../harmful' },
    { version: 1, name: '' },
    { version: 2, name: '' },
  ].flatMap(({ version, name }): HostileZip[] => {
    const extra = unicodeName(latin1('\x81'), Buffer.from(name), { version });
    const what = `an extra field of version ${version} with the name ${JSON.stringify(name)}`;
    const entry = { name: latin1('\x81'), flags: 0 };
    return [
      second(what, 'bad_extra', { ...entry, extra, local: { extra } }),
      second(`${what}, in the directory only`, 'bad_extra', { ...entry, extra }),
      second(`${what}, in the local header only`, 'bad_extra', { ...entry, local: { extra } }),
    ];
  }),

  // Readers that know no such field, or not without a name, see two entries of one name.
  ...[1, 2].map((version): HostileZip => {
    const extra = (raw: string) => unicodeName(latin1(raw), Buffer.alloc(0), { version });
    return atEntry(1, {
      what: `two entries with empty names of version ${version} in their extra fields`,
      zip: buildZip(
        ['\x84', '\x85'].map((raw) => ({ name: latin1(raw), flags: 0, extra: extra(raw) })),
      ),
      reason: 'bad_extra',
    });
  }),

  // unzip takes them for the versions of a file on VMS.
  pair('a name with a version and one without', 'duplicate_name', 'a;1', 'a'),
  pair('a name without a version and one with', 'duplicate_name', 'd/a', 'd/a;23'),
  pair('two versions of one name', 'duplicate_name', 'a;1', 'a;2'),
  pair('a version without a number', 'duplicate_name', 'a;', 'a'),
  pair('a version of a version', 'duplicate_name', 'a;1;2', 'a;1'),
  pair('a version of a folder', 'file_and_folder', 'a/', 'a;1'),
  pair('a version of an implied folder', 'file_and_folder', 'a/b', 'a;1'),
  twins(
    'a version beside a name in the extra field',
    { name: 'a_;1', flags: 0, extra: unicodeName(Buffer.from('a_;1'), Buffer.from('aü;1')) },
    { name: 'aü' },
  ),
  named('..;1', 'traversal'),
  named('a/..;', 'traversal'),
  named('.;1', 'dot_component'),
  named('a/;1', 'empty_name'),
  // unzip drops this byte.
  ...['a\xff', '\xffa'].map((name) =>
    twins(
      `a name of which unzip drops a byte, ${JSON.stringify(name)}`,
      { name: latin1(name), flags: 0 },
      { name: 'a' },
    ),
  ),
  second('two dots around a byte that unzip drops', 'traversal', {
    name: latin1('a/.\xff./b'),
    flags: 0,
  }),
  // unzip writes names of DOS in fewer letters than they have.
  ...[
    ['a\x98', 'a'],
    ['d/a\x98;1', 'd/a'],
    ['\xd5', 'i'],
    ['\xdc\xf2', '_='],
    ['d\xd5/a', 'di/a'],
    ['\xb5\xb3', '\xc1\xa6'],
  ].flatMap(([name = '', other = '']) =>
    [20, (6 << 8) | 20, (11 << 8) | 50].flatMap((madeBy) => {
      const ofDos = { name: latin1(name), flags: 0, madeBy };
      const plain = { name: latin1(other), flags: 0 };
      return [
        twins(`a name of which unzip makes another, made by ${madeBy}`, ofDos, plain),
        twins(`a name that unzip makes of another, made by ${madeBy}`, plain, ofDos),
      ];
    }),
  ),
  twins('a flagged name of which unzip makes another', { name: 'aØ', madeBy: 20 }, { name: 'a+' }),
  twins('a name that unzip makes of a flagged one', { name: 'a+' }, { name: 'aØ', madeBy: 20 }),
  {
    what: 'a file where unzip writes a folder',
    zip: buildZip([{ name: latin1('\xd5/x'), flags: 0, madeBy: 20 }, { name: 'i' }]),
    reason: 'file_and_folder',
    entry: 2,
  },
  {
    what: 'a file that unzip writes where a folder is',
    zip: buildZip([{ name: 'i/x' }, { name: latin1('\xd5'), flags: 0, madeBy: 20 }]),
    reason: 'file_and_folder',
    entry: 2,
  },
  {
    what: 'a file where unzip writes a folder, which is there only later',
    zip: buildZip([{ name: 'û/a', madeBy: 20 }, { name: 'ü', madeBy: 20 }, { name: '++/b' }]),
    reason: 'file_and_folder',
    entry: 3,
  },
  // In a locale without a letter unzip writes its number.
  ...['x#U00fc', 'd/#U00fc'].flatMap((escaped) => {
    const name = escaped.replace('#U00fc', 'ü');
    return [
      twins('a name that unzip may write as another', { name }, { name: escaped }),
      twins('a name as unzip may write another', { name: escaped }, { name }),
    ];
  }),
  twins('a letter that unzip may write as a longer number', { name: '😀' }, { name: '#L01f600' }),
  twins(
    'a name in an extra field that unzip may write as another',
    { name: 'x_', flags: 0, extra: unicodeName(Buffer.from('x_'), Buffer.from('xü')) },
    { name: 'x#U00fc' },
  ),
  behind('a\x98', 'a\u0098', 'control_character'),
  behind('..\x98', '..\u0098', 'control_character'),
  second('two dots around a byte of DOS that unzip drops', 'traversal', {
    ...{ name: latin1('a/.\x98./b'), flags: 0, madeBy: 20 },
  }),
  second('a name of DOS of which unzip leaves nothing', 'empty_name', {
    ...{ name: latin1('a/\x98/b'), flags: 0, madeBy: 20 },
  }),

  pair('a name twice', 'duplicate_name', 'a', 'b', 'a'),
  ...(['a/ö', 'ö/'] as const).flatMap((name): HostileZip[] => [
    twins('the same bytes in two encodings', { name }, { name, flags: 0, madeBy: 20 }),
    twins(
      'a name that is another one in code page 437',
      { name, flags: 0 },
      { name: name.replace('ö', '├╢') },
    ),
    twins(
      'a name that is another one in ISO 8859-1',
      { name: latin1(name), flags: 0, madeBy: 20 },
      { name },
    ),
  ]),
  twins(
    'one name beside two in extra fields',
    { name: 'a_', flags: 0, extra: unicodeName(Buffer.from('a_'), Buffer.from('aä')) },
    { name: 'a_', flags: 0, extra: unicodeName(Buffer.from('a_'), Buffer.from('aö')) },
  ),
  pair('a folder twice', 'duplicate_name', 'a/', 'a/'),
  pair('a name in two normalisations', 'duplicate_name', 'caf\u00e9', 'cafe\u0301'),
  pair('a folder in two normalisations', 'duplicate_name', 'caf\u00e9/a', 'cafe\u0301/b'),
  pair('a file and a folder', 'file_and_folder', 'a', 'a/'),
  pair('a folder and a file', 'file_and_folder', 'a/', 'a'),
  pair('a file in a file', 'file_and_folder', 'a', 'a/b'),
  pair('a file in the place of a folder', 'file_and_folder', 'a/b/c', 'a/b'),

  ofMode('a symbolic link', 0o120777, 'symlink'),
  ofMode('a symbolic link named as a folder', 0o120777, 'symlink', 'x/'),
  ofMode('a pipe named as a folder', 0o010644, 'special_file', 'x/'),
  ofMode('a character device', 0o020644, 'special_file'),
  ofMode('a block device', 0o060644, 'special_file'),
  ofMode('a socket', 0o140644, 'special_file'),
  ofMode('no known type', 0o170644, 'special_file'),
  ofMode('a folder by its mode only', 0o040755, 'kind_mismatch'),
  ofMode('a folder by its name only', 0o100644, 'kind_mismatch', 'x/'),
  second('the label of a disk', 'special_file', { name: 'x', attributes: 0x08, madeBy: 20 }),
  second('a reparse point', 'symlink', { name: 'x', attributes: 0x400, madeBy: 20 }),
  second('a folder by its attribute only', 'kind_mismatch', {
    name: 'x',
    attributes: 0x10,
    madeBy: 20,
  }),
  second('a symbolic link of another system', 'symlink', { name: 'x', mode: 0o120777, madeBy: 20 }),
];
