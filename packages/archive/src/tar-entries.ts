import type { Readable } from 'node:stream';
import { toAppError } from '@inference-server/errors';
import { createByteReader, type ByteReader } from './byte-reader.js';
import {
  damaged,
  isEmpty,
  readPaxLength,
  readPaxRecords,
  readTarFields,
  readText,
  type TarFields,
} from './tar-fields.js';
import { blockBytes } from './tar-header.js';

export type TarEntryKind =
  'file' | 'folder' | 'hard link' | 'symbolic link' | 'device' | 'fifo' | 'unknown';

export interface TarEntry {
  /** A character that stands for bytes which are not UTF-8 is U+FFFD. */
  name: string;
  kind: TarEntryKind;
  /** What a link leads to, as the tar says it. */
  linkName: string;
  mode: number;
  bytes: number;
  modified: Date;
  /** To be read before the next entry is asked for; what is left of it then is passed over. */
  content: AsyncIterable<Buffer>;
}

/**
 * The entries of a tar (ustar, pax, GNU) in its order. A tar that is damaged or cut off anywhere,
 * also between two entries, is INTERNAL, and so is an error of the source, and a tar that goes on
 * without end between two entries or behind the last. Destroys the source.
 *
 * Our own because tar-stream (3.2) waits for ever on a tar with a damaged length, and reads empty
 * blocks for as long as they come.
 */
export async function* readTarEntries(source: Readable): AsyncGenerator<TarEntry> {
  const reader = createByteReader(source);
  const shared: Extension = {};
  try {
    for (;;) {
      const found = await readHeader(reader, shared);
      if (found === undefined) break;
      const kind = kindOf(found);
      const content = createContent(reader, hasContent.has(kind) ? found.bytes : 0);
      yield { ...found, kind, bytes: content.bytes, content: content.chunks() };
      await content.passOver();
    }
    await requireEnd(reader);
  } catch (error) {
    throw toAppError(error, 'reading a tar');
  } finally {
    source.destroy();
  }
}

/** What headers before an entry's own say of it. */
interface Extension {
  name?: string;
  linkName?: string;
  bytes?: number;
}

/** What stands before the next entry, put together; undefined at the end. Adds to `shared`. */
async function readHeader(reader: ByteReader, shared: Extension): Promise<TarFields | undefined> {
  const own: Extension = {};
  for (let leftBytes = maxExtensionBytes; ;) {
    const block = await reader.exactly(blockBytes);
    if (block === undefined) throw cutOff();
    const fields = readTarFields(block);
    if (fields === undefined) return undefined;
    if (!extensionTypes.has(fields.type)) return { ...fields, ...shared, ...own };
    leftBytes -= blockBytes + fields.bytes;
    if (leftBytes < 0) throw damaged('an extended header is too long');
    const content = await reader.exactly(fields.bytes);
    const padding = await reader.exactly(-fields.bytes & (blockBytes - 1));
    if (content === undefined || padding === undefined) throw cutOff();
    if (fields.type === 'L' || fields.type === 'N') own.name = readText(content);
    else if (fields.type === 'K') own.linkName = readText(content);
    else Object.assign(fields.type === 'g' ? shared : own, extensionOf(content));
  }
}

/** Of all headers for one entry: a path has 4 KiB at most, and some attributes 64 KiB. */
const maxExtensionBytes = 1024 ** 2;
/** GNU: long name, long name in its old form, long link; pax: for the next entry, for all. */
const extensionTypes = new Set(['L', 'N', 'K', 'x', 'g']);

/** An empty value takes back what was said for all; the entry's own header says enough then. */
function extensionOf(pax: Buffer): Extension {
  const records = readPaxRecords(pax);
  const [name, linkName, bytes] = ['path', 'linkpath', 'size'].map(
    (key) => records.get(key) || undefined,
  );
  return {
    ...(name === undefined ? {} : { name }),
    ...(linkName === undefined ? {} : { linkName }),
    ...(bytes === undefined ? {} : { bytes: readPaxLength(bytes) }),
  };
}

function kindOf({ type, name }: TarFields): TarEntryKind {
  // Tars from before POSIX have no type for folders.
  if (type === '0' && name.endsWith('/')) return 'folder';
  return kinds[type] ?? 'unknown';
}

const kinds: Partial<Record<string, TarEntryKind>> = {
  '0': 'file',
  '1': 'hard link',
  '2': 'symbolic link',
  '3': 'device',
  '4': 'device',
  '5': 'folder',
  '6': 'fifo',
  // Asks for one piece of the disk: a file all the same.
  '7': 'file',
};
/** The others' length, if they state one, means something else. */
const hasContent: ReadonlySet<TarEntryKind> = new Set(['file', 'unknown']);

/** The content of one entry; its padding is passed over with what nobody has read. */
function createContent(reader: ByteReader, bytes: number) {
  let left = bytes;
  const next = async (most: number): Promise<Buffer> => {
    const piece = await reader.some(most);
    if (piece === undefined) throw cutOff();
    return piece;
  };
  return {
    bytes,
    async *chunks(): AsyncGenerator<Buffer> {
      try {
        while (left > 0) {
          const piece = await next(left);
          left -= piece.length;
          yield piece;
        }
      } catch (error) {
        throw toAppError(error, 'reading a tar');
      }
    },
    async passOver(): Promise<void> {
      let padded = left + (-bytes & (blockBytes - 1));
      left = 0;
      while (padded > 0) padded -= (await next(padded)).length;
    },
  };
}

/** Behind the first empty block: another one, and then nothing that is not empty. */
async function requireEnd(reader: ByteReader): Promise<void> {
  const second = await reader.exactly(blockBytes);
  if (second === undefined) throw cutOff();
  for (let bytes = 0, piece: Buffer | undefined = second; piece !== undefined;) {
    if (!isEmpty(piece)) throw damaged('something stands behind its end');
    bytes += piece.length;
    if (bytes > maxEndBytes) throw damaged('its end has no end');
    piece = await reader.some(blockBytes);
  }
}

/** Writers fill the last of their own, larger blocks: 10 KiB is usual. */
const maxEndBytes = 16 * 1024 ** 2;

function cutOff() {
  return damaged('it was cut off, its end is missing');
}
