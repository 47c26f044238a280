import {
  defaultZipLimits,
  noZipLimits,
  readZipEntries,
  writeZip,
  zipOfBytes,
  type NewZipEntry,
} from '@inference-server/archive';
import { AppError } from '@inference-server/errors';
import {
  readBatchOutput,
  withFiles,
  type BatchInput,
  type BatchOutput,
} from '@inference-server/protos';

/**
 * The input of a task: each time the same bytes, which is how a post that is made again is known. Nothing is packed: of
 * a mask that is nearly all zeros a zip would be left that is refused for being too small for what is in it.
 */
export function inputZip({ document, files }: BatchInput): AsyncIterable<Buffer> {
  return writeZip(entriesOf(new Map<string, Uint8Array>([['inputs.json', document], ...files])));
}

/** How much of an output may be read, and who is told before it is. */
export interface OutputBounds {
  /** Of outputs.json: while it is read nothing else is done. */
  maxDocumentBytes: number;
  /** Of that, and of the files that it names as often as it does. */
  maxBytes: number;
  /** Throws where there is no room. */
  hold(bytes: number): void;
  signal: AbortSignal;
}

/** The outputs that a batch model has written. Throws MODEL_ERROR. */
export async function outputsIn(
  zip: Buffer,
  { areTensors, ...bounds }: OutputBounds & { areTensors: boolean },
): Promise<Record<string, unknown>> {
  try {
    const [document] = await filesIn(zip, new Map([['outputs.json', 1]]), {
      ...bounds,
      maxBytes: bounds.maxDocumentBytes,
    });
    if (document === undefined) {
      throw new AppError('MODEL_ERROR', 'The model has written no outputs.json to /output.');
    }
    const output = readBatchOutput(document[1], areTensors);
    if (output.files.size === 0) return output.values;
    return withFiles(output, await namedFiles(zip, output, bounds));
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'ZIP_REFUSED') throw error;
    throw new AppError('MODEL_ERROR', "The model's output cannot be read.", { cause: error });
  }
}

const chunkBytes = 64 * 1024;
const modified = new Date('1980-01-01T00:00:00Z');

async function* entriesOf(files: ReadonlyMap<string, Uint8Array>): AsyncGenerator<NewZipEntry> {
  for (const [path, bytes] of files) {
    const content = chunksOf(bytes);
    yield { path, mode: 0o100644, modified, bytes: bytes.byteLength, content, isStored: true };
  }
}

async function* chunksOf({ buffer, byteOffset, byteLength }: Uint8Array): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  for (let at = 0; at < byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

async function namedFiles(
  zip: Buffer,
  { files }: BatchOutput,
  bounds: OutputBounds,
): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>(await filesIn(zip, files, bounds));
  if (found.size === files.size) return found;
  throw new AppError('MODEL_ERROR', 'outputs.json names a file that is not in /output.');
}

async function filesIn(
  zip: Buffer,
  /** And in how many places the bytes will stand. */
  wanted: ReadonlyMap<string, number>,
  { maxBytes, hold, signal }: Pick<OutputBounds, 'maxBytes' | 'hold' | 'signal'>,
): Promise<[path: string, bytes: Buffer][]> {
  const found: [string, Buffer][] = [];
  let bytes = 0;
  const limits = { ...noZipLimits, maxEntries: defaultZipLimits.maxEntries };
  for await (const { file, content } of readZipEntries(zipOfBytes(zip), limits, signal)) {
    if (file === undefined) continue;
    const places = wanted.get(file.path);
    if (places === undefined) continue;
    bytes += file.bytes * places;
    if (bytes > maxBytes) throw tooLarge();
    hold(file.bytes * places);
    const whole = Buffer.allocUnsafe(file.bytes);
    let at = 0;
    for await (const chunk of content()) at += chunk.copy(whole, at);
    found.push([file.path, whole]);
    if (found.length === wanted.size) break;
  }
  return found;
}

export function tooLarge(): AppError {
  return new AppError('MODEL_ERROR', "The model's output is larger than an answer may be.");
}
