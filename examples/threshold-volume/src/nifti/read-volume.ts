import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { endianness } from 'node:os';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { InputError } from '../input-error.js';
import { datatypes, headerBytes, parseHeader, type Datatype, type NiftiHeader } from './header.js';

export interface Volume {
  header: NiftiHeader;
  /** The scaled values slice by slice along k; one array that is overwritten by the next slice. */
  slices: AsyncIterable<Float64Array>;
}

/**
 * Opens a `.nii` or `.nii.gz` (told apart by content, not by name) and hands its header and its
 * slices to `use`. Memory holds one slice. A file that ends before its last voxel, or whose gzip
 * checksum is wrong, makes the slices throw {@link InputError}.
 */
export async function readVolume<Result>(
  path: string,
  use: (volume: Volume) => Promise<Result>,
): Promise<Result> {
  const zipped = await isGzip(path);
  const file = createReadStream(path);
  const source = zipped ? gunzip(file) : file;
  try {
    const reader = createReader(source);
    const header = parseHeader(await reader.read(headerBytes));
    return await use({ header, slices: readSlices(reader, header) });
  } catch (error) {
    throw readError(error);
  } finally {
    source.destroy();
    file.destroy();
  }
}

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer.readUInt16BE(0) === 0x1f8b;
  } finally {
    await file.close();
  }
}

function gunzip(file: Readable): Readable {
  const inflated = createGunzip();
  file.on('error', (error) => inflated.destroy(error));
  return file.pipe(inflated);
}

async function* readSlices(
  reader: ExactReader,
  { dataOffset, size: [ni, nj, nk], datatype, littleEndian, scaling }: NiftiHeader,
): AsyncGenerator<Float64Array> {
  await reader.skip(dataOffset - headerBytes);
  const values = new Float64Array(ni * nj);
  for (let k = 0; k < nk; k += 1) {
    const bytes = await reader.read(values.length * datatypes[datatype].bytes);
    const stored = typedView(bytes, datatype, littleEndian);
    for (let at = 0; at < values.length; at += 1) {
      values[at] = (stored[at] as number) * scaling.slope + scaling.intercept;
    }
    yield values;
  }
  // The gzip checksum stands behind the last byte.
  await reader.drain();
}

/** Views the bytes as numbers of this machine's byte order; swaps them in place if they are not. */
function typedView(bytes: Buffer<ArrayBuffer>, datatype: Datatype, littleEndian: boolean) {
  const width = datatypes[datatype].bytes;
  if (littleEndian !== (endianness() === 'LE')) {
    if (width === 2) bytes.swap16();
    if (width === 4) bytes.swap32();
    if (width === 8) bytes.swap64();
  }
  return new arrayTypes[datatype](bytes.buffer, bytes.byteOffset, bytes.length / width);
}

const arrayTypes = {
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
};

interface ExactReader {
  /** The next `count` bytes, in a buffer of their own. */
  read(count: number): Promise<Buffer<ArrayBuffer>>;
  skip(count: number): Promise<void>;
  /** Reads to the end and drops what is there. */
  drain(): Promise<void>;
}

function createReader(source: Readable): ExactReader {
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let rest: Buffer = Buffer.alloc(0);

  /** Hands over up to `count` bytes of what is there, fetching a chunk when nothing is. */
  async function take(count: number): Promise<Buffer> {
    if (rest.length === 0) {
      const next = await chunks.next();
      if (next.done === true) throw new InputError('is truncated');
      rest = next.value;
    }
    const taken = rest.subarray(0, count);
    rest = rest.subarray(taken.length);
    return taken;
  }

  return {
    async read(count) {
      // Not from the shared pool: a typed array needs an aligned start.
      const bytes = Buffer.from(new ArrayBuffer(count));
      for (let at = 0; at < count;) at += (await take(count - at)).copy(bytes, at);
      return bytes;
    },
    async skip(count) {
      for (let left = count; left > 0;) left -= (await take(left)).length;
    },
    async drain() {
      rest = Buffer.alloc(0);
      while ((await chunks.next()).done !== true);
    },
  };
}

function readError(error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (code === 'Z_BUF_ERROR') return new InputError('is truncated', { cause: error });
  if (typeof code === 'string' && code.startsWith('Z_')) {
    return new InputError('is damaged: its gzip data cannot be read', { cause: error });
  }
  return error;
}
