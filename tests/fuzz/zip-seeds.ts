import { zipSync } from 'fflate';
import {
  dotNet,
  explorer,
  finder,
  forcedZip64,
  go,
  infoZip,
  jar,
  longStreamed,
  newMac,
  oldMac,
  rust,
  streamed,
} from '../../packages/archive/test/maker-entries.js';
import {
  buildZip,
  unicodeName,
  zip64End,
  type RawEntry,
} from '../../packages/archive/test/zip-builder.js';

const contents: readonly (readonly [name: string, content: Buffer])[] = [
  ['a.txt', Buffer.from('one')],
  ['sub/größe.txt', Buffer.alloc(300, 'a text that packs. ')],
  ['sub/empty', Buffer.alloc(0)],
];

const each = (write: (name: string, content: Buffer) => RawEntry): Buffer =>
  buildZip(contents.map(([name, content]) => write(name, content)));

const latin1 = Buffer.from('größe', 'latin1');
const mtime = new Date('2024-03-02T10:20:30');

/** Small sound zips, written as common makers write them; the same bytes each time. */
export const seedZips: readonly Buffer[] = [
  each(infoZip),
  each(forcedZip64),
  each((name, content) => streamed(infoZip(name, content))),
  buildZip([infoZip('sub/', Buffer.alloc(0)), infoZip('sub/a', Buffer.from('one'))]),
  each((name, content) => explorer(name, content)),
  each((name, content) => dotNet(name, content)),
  each((name, content) => streamed(dotNet(name, content))),
  buildZip(finder(oldMac).slice(2)),
  buildZip(finder(newMac).slice(4)),
  each((name, content) => go(name, content)),
  each((name, content) => go(name, content, 0)),
  each((name, content) => rust(name, content, true)),
  buildZip(jar),
  buildZip([longStreamed('a', 0), longStreamed('b', 3)], { beforeEnd: (at) => zip64End(at) }),
  each((name, content) => ({ name, content })),
  buildZip([
    {
      ...{ name: latin1, content: 'one', flags: 0 },
      extra: unicodeName(latin1, Buffer.from('größe')),
    },
  ]),
  buildZip([], { comment: Buffer.from('a zip of nothing') }),
  Buffer.from(
    zipSync(Object.fromEntries(contents.map(([name, content]) => [name, content])), { mtime }),
  ),
];
