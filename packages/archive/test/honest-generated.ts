import { writeFile } from 'node:fs/promises';
import { filledTree, wholeTree, type HonestMaker, type Tree } from './honest-zip.js';
import {
  dotNet,
  explorer,
  explorerFolder,
  finder,
  finderTree,
  forcedZip64,
  go,
  infoZip,
  jar,
  jarTree,
  longStreamed,
  newMac,
  oldMac,
  rust,
  streamed,
  text,
} from './maker-entries.js';
import { buildZip, unicodeName, zip64End, type RawEnd, type RawEntry } from './zip-builder.js';

const paths = Object.entries(wholeTree.files);
const latin1 = Buffer.from('Größe.txt', 'latin1');
const unicode = unicodeName(latin1, Buffer.from('Größe.txt'));
const oem = Buffer.concat([Buffer.from([0x99]), Buffer.from('l.txt')]);

/** Programs of other systems, by what is known of the bytes that they write. */
export const honestGenerated: readonly HonestMaker[] = [
  generated(
    'Windows Explorer',
    [...paths.map(([name, content]) => explorer(name, content)), explorerFolder('sub/empty/')],
    wholeTree,
  ),
  generated(
    'Windows Explorer: names in the code page of the machine',
    [{ ...explorer('', text, 0), name: oem }],
    { files: { 'Öl.txt': text }, folders: [] },
  ),
  // What unzip itself does not keep apart: all of these are `++.txt`, `--` or `-/a` to it.
  generated(
    'Windows Explorer: names that unzip blurs',
    [
      ...['ü.txt', 'û.txt', '─┴', '─╦', '─/a', '┴'].map((name) => explorer(name, text)),
      ...['\xc4\xc2', '\xc2/a', '\xcb'].map((name) => ({
        ...{ ...explorer('', text, 0), name: Buffer.from(name, 'latin1') },
      })),
    ],
    {
      files: Object.fromEntries(
        ['ü.txt', 'û.txt', '─┴', '─╦', '─/a', '┴', '─┬', '┬/a', '╦'].map((name) => [name, text]),
      ),
      folders: ['─', '┬'],
    },
  ),
  generated(
    '.NET',
    [
      ...paths.map(([name, content]) => dotNet(name, content)),
      dotNet('sub/empty/', Buffer.alloc(0)),
    ],
    wholeTree,
  ),
  generated(
    '.NET: with all its effort',
    paths.map(([name, content]) => dotNet(name, content, 2)),
    filledTree,
  ),
  generated(
    '.NET: streamed',
    paths.map(([name, content]) => streamed(dotNet(name, content))),
    filledTree,
  ),
  generated('macOS', finder(oldMac), finderTree),
  generated('macOS: newer', finder(newMac), finderTree),
  generated(
    'Go',
    [
      go('sub/', text),
      go('sub/empty/', text),
      ...paths.map(([name, content]) => go(name, content)),
    ],
    wholeTree,
  ),
  generated(
    'Go: stored',
    paths.map(([name, content]) => go(name, content, 0)),
    filledTree,
  ),
  generated(
    'Rust',
    paths.map(([name, content]) => rust(name, content)),
    filledTree,
  ),
  generated(
    'Rust: large files announced',
    paths.map(([name, content]) => rust(name, content, true)),
    filledTree,
  ),
  generated(
    'Info-ZIP',
    [
      infoZip('sub/empty/', Buffer.alloc(0)),
      ...paths.map(([name, content]) => infoZip(name, content)),
    ],
    wholeTree,
  ),
  generated(
    'Info-ZIP with 64-bit sizes by force',
    paths.map(([name, content]) => forcedZip64(name, content)),
    filledTree,
  ),
  generated('Java', jar, jarTree),
  generated(
    'bsdtar into a pipe, which it fills up to a record of a tar',
    [{ name: 'a.txt', content: text }],
    { files: { 'a.txt': text }, folders: [] },
    { suffix: Buffer.alloc(10_240 - buildZip([{ name: 'a.txt', content: text }]).length) },
  ),
  generated(
    'Info-ZIP where names are not in UTF-8: those are in an extra field',
    [
      {
        name: latin1,
        content: text,
        flags: 0,
        extra: unicode,
        local: { extra: unicode, flags: 0 },
      },
    ],
    { files: { 'Größe.txt': text }, folders: [] },
  ),
  generated(
    'content from a pipe, as Info-ZIP and 7-Zip mark it',
    [{ name: '-', content: text, mode: 0o010600 }],
    { files: { '-': text }, folders: [] },
  ),
  generated(
    'streamed with 64-bit sizes',
    [longStreamed('a.txt', 0), longStreamed('b.txt', text.length)],
    { files: { 'a.txt': text, 'b.txt': text }, folders: [] },
    { beforeEnd: (directory) => zip64End(directory) },
  ),
];

/**
 * .NET before 4.6.1 and Compress-Archive of Windows PowerShell 5 write backslashes between folders. What
 * other readers make of them differs: folders here, letters of a name there.
 */
export const backslashed: Buffer = buildZip(
  ['sub\\text.txt', 'sub\\empty\\'].map((name) =>
    dotNet(name, name.endsWith('\\') ? Buffer.alloc(0) : text),
  ),
);

/** A zip written byte by byte as a program writes it that runs on no machine of ours. */
function generated(
  what: string,
  entries: readonly RawEntry[],
  gives: Tree,
  end: RawEnd = {},
): HonestMaker {
  const bytes = buildZip(entries, end);
  return { what, make: ({ zip }) => writeFile(zip, bytes), gives };
}
