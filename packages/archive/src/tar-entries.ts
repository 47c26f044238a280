import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type ExtractEvents, type Header } from 'tar-stream';
import { AppError, toAppError } from '@inference-server/errors';
import { blockBytes, tarEnd } from './tar-header.js';

export interface TarEntry {
  name: string;
  kind: Header['type'] | 'unknown';
  /** What a link leads to, as the tar says it; empty for other kinds. */
  linkName: string;
  mode: number;
  bytes: number;
  modified: Date;
  /** To be read to its end before the next entry is asked for, or skipped. */
  content: AsyncIterable<Buffer>;
  skip(): void;
}

/**
 * The entries of a tar in its order. A tar that is damaged or cut off anywhere, also between two
 * entries, is INTERNAL, and so is an error of the source.
 */
export async function* readTarEntries(source: Readable): AsyncGenerator<TarEntry> {
  const entries = extract();
  const tail = createTail();
  // What goes wrong while feeding destroys the extraction and so is thrown by the loop.
  const feeding = pipeline(source, tail.watch, entries as unknown as NodeJS.WritableStream);
  feeding.catch(() => undefined);
  let entriesEnd = 0;
  try {
    for await (const entry of entries) {
      entriesEnd = endOf(entry);
      yield entryOf(entry);
    }
    await feeding;
  } catch (error) {
    throw toAppError(error, 'reading a tar');
  } finally {
    source.destroy();
  }
  // A stream that is cut exactly between two entries looks complete to the parser.
  if (tail.bytes() < entriesEnd + tarEnd.length || !tail.isEmpty()) {
    throw new AppError('INTERNAL', 'reading a tar: it was cut off, its end is missing');
  }
}

/** Watches a stream pass: how long it was, and whether it ended in the two empty blocks. */
function createTail() {
  let bytes = 0;
  let last = Buffer.alloc(0);
  return {
    async *watch(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        last = Buffer.concat([last, chunk.subarray(-tarEnd.length)]).subarray(-tarEnd.length);
        yield chunk;
      }
    },
    bytes: () => bytes,
    isEmpty: () => last.equals(tarEnd),
  };
}

type Entry = ExtractEvents['entry'][1];

/** As the parser gives it; its types lack these. */
interface ParsedHeader extends Omit<Header, 'type' | 'linkname'> {
  /** Where in the stream the content begins. */
  byteOffset: number;
  /** Null for a kind that the parser does not know. */
  type: Header['type'] | null;
  linkname: string | null;
}

/** Where the next header stands. */
function endOf(entry: Entry): number {
  const { byteOffset } = entry.header as ParsedHeader;
  return byteOffset + Math.ceil(contentBytes(entry) / blockBytes) * blockBytes;
}

/** A folder's size means nothing, and nothing follows its header. */
function contentBytes({ header }: Entry): number {
  return header.type === 'directory' ? 0 : header.size;
}

function entryOf(entry: Entry): TarEntry {
  const { name, type, linkname, mode, mtime } = entry.header as ParsedHeader;
  return {
    name,
    kind: type ?? 'unknown',
    linkName: linkname ?? '',
    mode,
    bytes: contentBytes(entry),
    modified: mtime,
    content: contentOf(entry),
    skip: () => entry.resume(),
  };
}

/** The same bytes; errors come as AppErrors here too. */
async function* contentOf(entry: Entry): AsyncGenerator<Buffer> {
  if (contentBytes(entry) === 0) return;
  try {
    yield* entry as AsyncIterable<Buffer>;
  } catch (error) {
    throw toAppError(error, 'reading a tar');
  }
}
