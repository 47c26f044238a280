import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw, inflateRawSync, type InflateRaw } from 'node:zlib';
import { toAppError } from '@inference-server/errors';
import type { DirectoryRecord } from './zip-directory.js';
import type { ZipFile } from './zip-file.js';
import { refuseZip, type ZipRefusal } from './zip-refused.js';

/**
 * The bytes of an entry, inflated. Ends with ZIP_REFUSED unless they have the stated size and checksum
 * and the packed ones are used up to the last; never gives more than the stated size. Throws the signal's reason.
 */
export async function* readContent(
  file: ZipFile,
  record: DirectoryRecord,
  { start, end }: { start: number; end: number },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const refuse: Refuse = (reason, cause) =>
    refuseZip({ reason, entry: record.number, offset: start }, cause);
  const packed = file.readRange(start, end);
  let checksum = 0;
  let bytes = 0;
  const chunks = record.method === deflated ? inflate(packed, record, refuse, signal) : packed;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > record.bytes) throw refuse('size_mismatch');
    checksum = crc32(chunk, checksum);
    yield chunk;
  }
  if (bytes !== record.bytes) throw refuse('size_mismatch');
  if (checksum !== record.crc) throw refuse('crc_mismatch');
}

type Refuse = (reason: ZipRefusal, cause?: unknown) => Error;

const deflated = 8;

/** Many entries are small: those are inflated at once, without the cost of a stream. */
const smallBytes = 16 * 1024;
const chunkBytes = 256 * 1024;

async function* inflate(
  packed: AsyncIterable<Buffer>,
  { bytes, packedBytes }: DirectoryRecord,
  refuse: Refuse,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  // Without a byte there is no deflated data, not even of nothing.
  if (packedBytes === 0) throw refuse('bad_data');
  if (bytes <= smallBytes && packedBytes <= smallBytes) {
    for await (const all of packed) yield inflateSmall(all, bytes, refuse);
    return;
  }
  const inflated = createInflateRaw({ chunkSize: chunkBytes });
  // What goes wrong while feeding destroys the stream and so is thrown by the loop.
  // Under the signal: gibibytes of empty blocks give no chunk at which to look at it.
  const feeding = pipeline(packed, inflated, { signal }).catch(() => undefined);
  try {
    yield* inflated as AsyncIterable<Buffer>;
  } catch (error) {
    signal.throwIfAborted();
    throw asRefusal(error, refuse);
  } finally {
    inflated.destroy();
    await feeding;
  }
  if (inflated.bytesWritten !== packedBytes) throw refuse('bad_data');
}

function inflateSmall(packed: Buffer, bytes: number, refuse: Refuse): Buffer {
  try {
    // Room for one byte more shows what exceeds. The types do not know of `info`.
    const { buffer, engine } = inflateRawSync(packed, {
      maxOutputLength: bytes + 1,
      chunkSize: Math.max(64, bytes + 1),
      info: true,
    }) as unknown as { buffer: Buffer; engine: InflateRaw };
    if (engine.bytesWritten === packed.length) return buffer;
  } catch (error) {
    throw asRefusal(error, refuse);
  }
  throw refuse('bad_data');
}

/** What inflate says of damaged data; anything else is a fault of ours. */
function asRefusal(error: unknown, refuse: Refuse): Error {
  const { code } = error as { code?: unknown };
  if (code === 'ERR_BUFFER_TOO_LARGE') return refuse('size_mismatch', error);
  const isVerdict = code === 'Z_DATA_ERROR' || code === 'Z_BUF_ERROR' || code === 'Z_NEED_DICT';
  return isVerdict ? refuse('bad_data', error) : toAppError(error, 'inflating an entry of a zip');
}
