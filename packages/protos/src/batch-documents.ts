import { stringify } from 'lossless-json';
import { AppError } from '@inference-server/errors';
import { readDocument, readWrittenDocument } from './plain-document.js';
import { answered } from './plain-outputs.js';
import { objectOf } from './plain-inputs.js';
import { inJson } from './telling.js';
import { asBytes, bytesOfBase64, replaceIn } from './value-tree.js';

/** What a batch model finds in /input of values by name. */
export interface BatchInput {
  /** inputs.json: the values, whole numbers with all their digits, bytes as {"file": "inputs/…"}. */
  document: Buffer;
  /** The bytes, by the path that stands in the document. */
  files: ReadonlyMap<string, Uint8Array>;
}

/** Throws VALIDATION_FAILED, and PAYLOAD_TOO_LARGE of a document that is larger. */
export function batchInputOf(
  values: Readonly<Record<string, unknown>>,
  maxDocumentBytes: number,
): BatchInput {
  const files = new Map<string, Uint8Array>();
  const named = replaceIn(values, (value, path) => {
    if (typeof fileIn(value) === 'string') throw isFile();
    if (!(value instanceof Uint8Array)) return undefined;
    if (files.size === maxFiles) throw tooManyFiles();
    const file = fileFor(path, files.size);
    files.set(file, value);
    return { file };
  });
  const document = documentOf(named, maxDocumentBytes);
  return { document, files };
}

/** A zip may have 50,000 entries; one is the document. */
const maxFiles = 49_999;

/** outputs.json, as it was read. */
export interface BatchOutput {
  values: Record<string, unknown>;
  /** The paths of the files that it names, values {"file": "outputs/…"}, and in how many places each stands. */
  files: ReadonlyMap<string, number>;
}

/** `areTensors`: for {@link tensorsOfValues}, which tells 1.0 from 1. Throws MODEL_ERROR. */
export function readBatchOutput(document: Buffer, areTensors: boolean): BatchOutput {
  return answered(() => {
    const what = 'outputs.json';
    const given = objectOf(
      areTensors ? readWrittenDocument(document, what) : readDocument(undefined, document, what),
    );
    if (given === undefined) throw new AppError('VALIDATION_FAILED', `${what} is no object.`);
    const files = new Map<string, number>();
    const values = replaceIn(given, (value) => {
      const file = outputFileIn(value);
      if (file !== undefined) files.set(file, (files.get(file) ?? 0) + 1);
      return bytesOfBase64(value);
    });
    return { values: values as Record<string, unknown>, files };
  });
}

/** With the bytes of the files in their places. */
export function withFiles(
  { values }: BatchOutput,
  files: ReadonlyMap<string, Uint8Array>,
): Record<string, unknown> {
  const bytesOf = (value: object) => {
    const file = outputFileIn(value);
    const bytes = file === undefined ? undefined : files.get(file);
    return bytes && asBytes(bytes);
  };
  return replaceIn(values, bytesOf) as Record<string, unknown>;
}

function outputFileIn(value: object): string | undefined {
  const file = fileIn(value);
  return typeof file === 'string' && file.startsWith('outputs/') ? file : undefined;
}

function fileIn(value: object): unknown {
  if (!Object.hasOwn(value, 'file') || Object.keys(value).length !== 1) return undefined;
  return (value as { file: unknown }).file;
}

/** A model would open whatever it names. */
function isFile(): AppError {
  return new AppError(
    'VALIDATION_FAILED',
    'An object of nothing but "file" is how a batch model is told of bytes: give the bytes themselves.',
  );
}

function tooManyFiles(): AppError {
  const text = `A batch model is given at most ${maxFiles} values that are bytes.`;
  return new AppError('PAYLOAD_TOO_LARGE', text);
}

/** Of the names that lead there, where they are what every system takes for a name; else of its number. */
function fileFor(path: readonly string[], number: number): string {
  const plain = `inputs/${path.join('/')}`;
  const isPlain = plain.length <= 500 && path.every((name) => /^\w(?:[\w.-]{0,98}\w)?$/.test(name));
  return isPlain ? plain : `inputs/@${number}`;
}

function documentOf(values: unknown, maxBytes: number): Buffer {
  let bigints = 0;
  const told = (_name: string, value: unknown) => {
    if (typeof value === 'bigint') bigints += 1;
    else if (typeof value === 'number' && !Number.isFinite(value)) return inJson.notFinite(value);
    return value;
  };
  const rounded = (name: string, value: unknown) => {
    const one = told(name, value);
    return typeof one === 'bigint' ? 0 : one;
  };
  try {
    const text = JSON.stringify(values, rounded);
    const document = Buffer.from(bigints === 0 ? text : (stringify(values, told) ?? ''));
    if (document.byteLength <= maxBytes) return document;
  } catch (error) {
    // Of a text that is longer than any string may be.
    if (!(error instanceof RangeError)) throw error;
  }
  throw new AppError('PAYLOAD_TOO_LARGE', 'The inputs are too large as JSON; bytes are not.');
}
