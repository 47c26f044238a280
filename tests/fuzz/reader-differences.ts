import { readFileSync } from 'node:fs';
import { asUnzipWrites, fromCodePage437 } from '../../packages/archive/src/code-pages.js';
import { inEscapes, readName } from '../../packages/archive/src/name-readings.js';
import {
  readZipDirectory,
  type DirectoryRecord,
} from '../../packages/archive/src/zip-directory.js';
import { readZipEnd } from '../../packages/archive/src/zip-end.js';
import { openZipFile } from '../../packages/archive/src/zip-file.js';
import type { Reading, Tree, ZipReader } from './zip-readers.js';

/**
 * Why a reader reads something else than we do of a zip that the gate lets pass: the reasons of
 * {@link spellings} and {@link complaints}; undefined when there is more to it than those. What it
 * extracted must be, entry by entry, what we extract, in full unless it complains.
 */
export async function explain(
  reader: ZipReader['name'],
  { path, ours, theirs }: { path: string; ours: Tree; theirs: Reading },
): Promise<string[] | undefined> {
  const records = await readRecords(path);
  const reasons: string[] = [];
  if (theirs.complaint !== undefined) {
    const { complaint } = theirs;
    const known = complaints.find(
      (one) =>
        isOf(one, reader) && one.words.test(complaint) && one.fits(records, readFileSync(path)),
    );
    if (known === undefined) return undefined;
    reasons.push(known.why);
  }
  const left = new Map(theirs.tree);
  const folders = new Set<string>();
  /** The entry is accounted for, and the folders that it lies in. */
  const settle = (path: string, content: string | undefined) => {
    if (content !== undefined) left.delete(path);
    else folders.add(path);
    settleParents(path);
  };
  const settleParents = (path: string) => {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      folders.add(path.slice(0, at));
    }
  };
  const otherwise = records.filter((record) => {
    const path = inBytes(nameOf(record));
    const content = ours.get(path);
    const isAlike = left.has(path) && left.get(path) === content;
    if (isAlike) settle(path, content);
    return !isAlike;
  });
  for (const record of otherwise) {
    const content = ours.get(inBytes(nameOf(record)));
    const candidates = spellings
      .filter((one) => isOf(one, reader))
      .flatMap(({ why, isName }) =>
        [...left].flatMap(([at, theirContent]) =>
          theirContent === content && isName(at, record) ? [{ at, why }] : [],
        ),
      );
    // One that nothing accounts for yet, before a folder that something lies in.
    const spelling = candidates.find(({ at }) => !folders.has(at)) ?? candidates[0];
    if (spelling !== undefined) {
      settle(spelling.at, content);
      if (!reasons.includes(spelling.why)) reasons.push(spelling.why);
    } else if (reader.startsWith('unzip') && isOverwritten(record, records)) {
      if (!reasons.includes(overwritten)) reasons.push(overwritten);
    } else {
      if (theirs.complaint === undefined) return undefined;
      // It got no further than the folders of the entry that it complains of.
      settleParents(rawName(record));
    }
  }
  // What is left are folders that were stated or that hold a file, or it is an invention of theirs.
  const isKnown = [...left].every(([at, content]) => content === undefined && folders.has(at));
  return isKnown ? reasons : undefined;
}

const overwritten = 'unzip writes several names from DOS to one place';

const isOverwritten = (record: DirectoryRecord, records: readonly DirectoryRecord[]) =>
  isOfDos(record) &&
  records.some((one) => one !== record && isOfDos(one) && inUnzip(one) === inUnzip(record));

/** What is known of unzip is known of it in each locale. */
const isOf = (known: { reader: ZipReader['name'] }, reader: ZipReader['name']) =>
  known.reader === reader || (known.reader === 'unzip' && reader === 'unzip, C');

interface Spelling {
  reader: ZipReader['name'];
  why: string;
  /** Whether the reader may write the entry under this path. */
  isName(path: string, record: DirectoryRecord): boolean;
}

const isOfDos = ({ madeBy }: DirectoryRecord) => [0, 6, 11].includes(madeBy >> 8);
const isFlagged = ({ flags }: DirectoryRecord) => (flags & 0x800) !== 0;

/** What other letters a reader may make of a name. All agree on those of ASCII, and so on folders. */
const spellings: readonly Spelling[] = [
  {
    reader: 'python',
    why: 'Python takes each name without a flag to be in code page 437, and knows no field with another',
    isName: (path, record) => !isFlagged(record) && path === inBytes(inCodePage437(record)),
  },
  {
    reader: '7z',
    why: '7z takes a name without a flag to be in UTF-8, also from DOS, or else in ISO 8859-1',
    isName: (path, record) =>
      !isFlagged(record) && [rawName(record), inBytes(rawName(record))].includes(path),
  },
  {
    reader: 'unzip, C',
    why: 'unzip writes letters that its locale lacks as their numbers',
    isName: (path, record) => path === withoutVersion(record, inEscapes(nameOf(record))),
  },
  {
    reader: 'unzip',
    why: 'unzip takes a name from Unix as it is, whatever it is in, but for the byte 255',
    isName: (path, record) =>
      !isFlagged(record) && path === withoutVersion(record, rawName(record).replaceAll('\xff', '')),
  },
  {
    reader: 'unzip',
    why: 'unzip leaves out what looks like the version of a file on VMS',
    isName: (path, record) => path === withoutVersion(record, inBytes(nameOf(record))),
  },
  {
    reader: 'unzip',
    why: 'unzip translates names from DOS as if from its code page, in the C.UTF-8 locale also flagged ones',
    isName: (path, record) => isOfDos(record) && path === inUnzip(record),
  },
  {
    reader: 'bsdtar',
    why: 'bsdtar takes a name without a flag as it is',
    isName: (path, record) => !isFlagged(record) && path === rawName(record),
  },
  {
    reader: 'bsdtar',
    why: 'bsdtar composes letters of names in UTF-8',
    isName: (path, record) => path === inBytes(nameOf(record).normalize('NFC')),
  },
  ...(['java', 'java, streamed'] as const).map((reader) => ({
    reader,
    why: 'Java takes each name to be in UTF-8, and knows no field with another',
    isName: (path: string, record: DirectoryRecord) => path === rawName(record),
  })),
];

interface Complaint {
  reader: ZipReader['name'];
  words: RegExp;
  why: string;
  fits(records: readonly DirectoryRecord[], zip: Buffer): boolean;
}

const isStreamed = ({ flags }: DirectoryRecord) => (flags & 0x8) !== 0;

/** Sound zips that a reader refuses, with its words. None of them reads another content. */
const complaints: readonly Complaint[] = [
  {
    reader: 'unzip',
    words: /need PK compat\. v/,
    why: 'unzip knows the format up to version 4.6',
    fits: (records) => records.some(({ version }) => (version & 0xff) > 46),
  },
  {
    reader: 'unzip',
    words: /overlapped components \(possible zip bomb\)/,
    why: 'unzip as Debian mends it misreads the length of some descriptors',
    fits: (records) => records.some(isStreamed),
  },
  {
    reader: 'unzip',
    words: /mapname: {2}conversion of .* failed/,
    why: 'unzip leaves the byte 255 out, and then no name is left',
    fits: (records) => records.some((record) => /(^|\/)\xff+(\/|$)/.test(rawName(record))),
  },
  {
    reader: '7z',
    words: /Cannot open the file as (\[zip\] )?archive/,
    why: '7z knows no zip without an entry',
    fits: (records) => records.length === 0,
  },
  ...(['java', 'java, streamed'] as const).map((reader) => ({
    reader,
    words: /bad entry name|malformed input|MALFORMED/,
    why: 'Java refuses names and comments that are not in UTF-8',
    fits: (records: readonly DirectoryRecord[], zip: Buffer) =>
      records.some((record) => !isUtf8(record.rawName) || !isUtf8(commentOf(record, zip))),
  })),
  {
    reader: 'java, streamed',
    words: /only DEFLATED entries can have EXT descriptor/,
    why: 'Java reads nothing from a stream that is stored with a descriptor',
    fits: (records) => records.some((record) => isStreamed(record) && record.method === 0),
  },
  {
    reader: 'java, streamed',
    words: /invalid entry (size|CRC|compressed size)|ended before all entries/,
    why: 'Java knows long descriptors, in a stream, of long content only',
    fits: (records) => records.some(isStreamed),
  },
];

const isUtf8 = (bytes: Buffer) => Buffer.from(bytes.toString()).equals(bytes);

function commentOf({ offset }: DirectoryRecord, zip: Buffer): Buffer {
  const start = offset + 46 + zip.readUInt16LE(offset + 28) + zip.readUInt16LE(offset + 30);
  return zip.subarray(start, start + zip.readUInt16LE(offset + 32));
}

/** What unzip leaves of a path; a folder it takes as it is. */
const withoutVersion = ({ rawName: raw }: DirectoryRecord, path: string) =>
  raw.at(-1) === 0x2f ? path : path.replace(/;\d*$/, '');

const inUnzip = (record: DirectoryRecord) =>
  withoutVersion(record, asUnzipWrites(record.rawName).replace(/\/$/, ''));

const { signal } = new AbortController();

async function readRecords(path: string): Promise<DirectoryRecord[]> {
  const file = await openZipFile(path);
  try {
    const directory = await readZipDirectory(file, await readZipEnd(file), signal);
    const records: DirectoryRecord[] = [];
    for await (const record of directory.records()) records.push(record);
    return records;
  } finally {
    await file.close();
  }
}

function nameOf(record: DirectoryRecord): string {
  const name = readName(record);
  if ('refused' in name) throw new Error(`refused all the same: ${name.refused}`);
  return name.path;
}

const inCodePage437 = ({ rawName: raw }: DirectoryRecord) =>
  fromCodePage437(raw).replace(/\/$/, '');
const rawName = ({ rawName: raw }: DirectoryRecord) => raw.toString('latin1').replace(/\/$/, '');

export function inBytes(name: string): string {
  return Buffer.from(name).toString('latin1');
}
