import { open, type FileHandle } from 'node:fs/promises';
import yauzl, { type Entry } from 'yauzl';
import { AppError, messageOf, systemCode, toAppError } from '@inference-server/errors';
import { readContent } from './zip-content.js';
import { ZipFileReader } from './zip-file-reader.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/** A zip as the parser sees it, before any rule of ours. */
export interface OpenZip {
  /** Of the file. */
  bytes: number;
  /** As its end record states it. */
  entryCount: number;
  /** Once only. */
  entries(): AsyncIterable<Entry>;
  /** The entry's bytes, inflated but unchecked, with foreign errors: see {@link zipError}. */
  content(entry: Entry): AsyncIterable<Buffer>;
  close(): Promise<void>;
}

/** Throws ZIP_REFUSED when the file has no sound end record. */
export async function openZip(path: string): Promise<OpenZip> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    throw toAppError(error, 'opening a zip');
  }
  try {
    const { size: bytes } = await file.stat();
    const reader = new ZipFileReader(file);
    const zip = await readEndRecord(file, reader, bytes);
    return {
      bytes,
      entryCount: zip.entryCount,
      entries: () => zip.eachEntry(),
      content: (entry) => readContent(reader, zip, entry),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw zipError(error);
  }
}

/**
 * What the parser or inflate says of a damaged zip as ZIP_REFUSED; `entry` is counted from 1. Errors
 * of the system and our own mistakes are INTERNAL.
 */
export function zipError(error: unknown, entry?: number): AppError {
  const isVerdict = error instanceof Error && error.name === 'Error' && !systemCode(error);
  if (error instanceof AppError || !isVerdict) return toAppError(error, 'reading a zip');
  return refuseZip(reasonOf(error), { ...(entry === undefined ? {} : { entry }), cause: error });
}

async function readEndRecord(
  file: FileHandle,
  reader: ZipFileReader,
  bytes: number,
): Promise<yauzl.ZipFile> {
  try {
    return await yauzl.fromRandomAccessReaderPromise(reader, bytes, {
      autoClose: false,
      // Names come as bytes and sizes as they are stated: judging them is ours.
      decodeStrings: false,
      validateEntrySizes: false,
    });
  } catch (error) {
    if (!messageOf(error).startsWith('End of central directory record signature not found')) {
      throw error;
    }
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    throw refuseZip(buffer.equals(firstLocalHeader) ? 'truncated' : 'not_a_zip', { cause: error });
  }
}

const firstLocalHeader = Buffer.from('PK\x03\x04', 'latin1');

function reasonOf(error: Error): ZipRefusal {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string' && code.startsWith('Z_')) return 'bad_data';
  // The parser's errors have no codes.
  return error.message.startsWith('strong encryption') ? 'encrypted' : 'malformed';
}
