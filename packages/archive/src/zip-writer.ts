import { pipeline } from 'node:stream/promises';
import { createDeflateRaw, crc32, deflateRawSync } from 'node:zlib';
import {
  centralRecord,
  dataDescriptor,
  endRecords,
  localHeader,
  mayNeedZip64,
  type ZipRecord,
} from './zip-records.js';

export interface NewZipEntry {
  /** A folder's ends with a slash and has no content. */
  path: string;
  /** With the kind's bits. */
  mode: number;
  modified: Date;
  /** Exactly what `content` gives. */
  bytes: number;
  /** Not to be deflated, even where that pays. */
  isStored?: boolean;
  content: AsyncIterable<Buffer>;
}

/**
 * Writes a zip in one pass, reading each entry's content when its turn comes. An entry is deflated at
 * level 1 when the first 64 KiB of it show that this pays, and stored otherwise: level 6 costs twice
 * the time and gains nothing on volumes. Memory holds one record an entry, never content.
 *
 * Our own because yazl (3.3) looks through all earlier entries at each one (17 s for 50,000), keeps
 * their streams (250 MB for those), and breaks the process when a source fails.
 */
export async function* writeZip(entries: AsyncIterable<NewZipEntry>): AsyncGenerator<Buffer> {
  const directory = createDirectory();
  let offset = 0;
  for await (const entry of entries) {
    const record: ZipRecord = {
      ...entry,
      name: Buffer.from(entry.path),
      offset,
      deflated: false,
      streamed: false,
      zip64: mayNeedZip64(entry.bytes),
      checksum: 0,
      packedBytes: 0,
    };
    for await (const chunk of writeEntry(record, entry)) {
      offset += chunk.length;
      yield chunk;
    }
    directory.add(centralRecord(record));
  }
  const pages = directory.pages();
  yield* pages;
  const bytes = pages.reduce((total, page) => total + page.length, 0);
  yield endRecords({ entries: directory.entries(), offset, bytes });
}

/** The records of all entries, kept in a few large buffers: small ones would each pin a larger one. */
function createDirectory() {
  const pages: Buffer[] = [];
  let latest: Buffer[] = [];
  let entries = 0;
  const closePage = () => {
    pages.push(Buffer.concat(latest));
    latest = [];
  };
  return {
    add(record: Buffer): void {
      entries += 1;
      if (latest.push(record) === recordsAPage) closePage();
    },
    pages(): readonly Buffer[] {
      if (latest.length > 0) closePage();
      return pages;
    },
    entries: () => entries,
  };
}

const recordsAPage = 512;
const sampleBytes = 64 * 1024;

/** Header and content of one entry; completes `record`. */
async function* writeEntry(
  record: ZipRecord,
  { content, isStored = false }: NewZipEntry,
): AsyncGenerator<Buffer> {
  const chunks = content[Symbol.asyncIterator]();
  const { sample, ended } = await takeSample(chunks);
  const packed = isStored ? undefined : packedIfWorthwhile(sample);
  record.deflated = packed !== undefined;
  if (ended) {
    // Small enough to know everything beforehand: no descriptor, and one chunk for it all.
    const data = packed ?? sample;
    record.checksum = crc32(sample);
    record.packedBytes = data.length;
    yield Buffer.concat([localHeader(record), data]);
    return;
  }
  record.streamed = true;
  yield localHeader(record);
  const measured = measure(record, sample, chunks);
  for await (const chunk of record.deflated ? deflate(measured) : measured) {
    record.packedBytes += chunk.length;
    yield chunk;
  }
  yield dataDescriptor(record);
}

/** Less is not worth the time of inflating it at every later reading. */
const worthwhileShare = 0.9;

function packedIfWorthwhile(sample: Buffer): Buffer | undefined {
  // Its output buffer is 16 KiB unless told otherwise.
  const chunkSize = Math.max(sample.length, 64);
  const packed = deflateRawSync(sample, { level: 1, chunkSize });
  return packed.length < sample.length * worthwhileShare ? packed : undefined;
}

/** The first {@link sampleBytes}, in one piece, or more; all of a file that is smaller. */
async function takeSample(
  chunks: AsyncIterator<Buffer>,
): Promise<{ sample: Buffer; ended: boolean }> {
  const taken: Buffer[] = [];
  for (let bytes = 0; bytes < sampleBytes;) {
    const next = await chunks.next();
    if (next.done === true) return { sample: Buffer.concat(taken), ended: true };
    taken.push(next.value);
    bytes += next.value.length;
  }
  return { sample: Buffer.concat(taken), ended: false };
}

/** The whole content again, checksummed on the way. */
async function* measure(
  record: ZipRecord,
  sample: Buffer,
  rest: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer> {
  record.checksum = crc32(sample);
  yield sample;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
    record.checksum = crc32(next.value, record.checksum);
    yield next.value;
  }
}

async function* deflate(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const deflated = createDeflateRaw({ level: 1, chunkSize: sampleBytes });
  // What goes wrong while feeding destroys the stream and so is thrown by the loop.
  const feeding = pipeline(content, deflated).catch(() => undefined);
  try {
    yield* deflated as AsyncIterable<Buffer>;
  } finally {
    deflated.destroy();
    await feeding;
  }
}
