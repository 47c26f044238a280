import { isUtf8 } from 'node:buffer';
import { AppError } from '@inference-server/errors';
import {
  addPart,
  BinaryWriter,
  bytesOf,
  decoding,
  encodeTextPair,
  joinParts,
  lengthTag,
  readFields,
  readTextPair,
  WireType,
  writeTextPair,
  written,
  type FieldBudget,
} from './wire.js';

/** What is said of an input or an output; a key may come again. */
export interface MetadataEntry {
  key: string;
  value: string;
}

export interface ModelInput {
  id: number;
  /** UTF-8: of what it came in as a slice, for it may be an image of many megabytes. */
  content: Buffer;
  metadata: MetadataEntry[];
}

export interface ModelOutput {
  id: number;
  metadata: MetadataEntry[];
}

export interface InvocationResponse {
  status: string;
  message: string;
}

const maxEntries = 1_000;
const maxMetadataBytes = 1024 * 1024;

/**
 * The model_input of an InvocationRequest; undefined where it has none. Throws MALFORMED_REQUEST of bytes
 * that are none, and of more metadata than anybody keeps.
 */
export function decodeInvocationRequest(bytes: Buffer): ModelInput | undefined {
  return decoding('The request', () => {
    const parts: Buffer[] = [];
    const budget: FieldBudget = { fields: 0 };
    readFields(
      bytes,
      (field, wireType, reader) => {
        if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
        addPart(parts, bytesOf(reader));
        return true;
      },
      budget,
    );
    return parts.length === 0 ? undefined : readModelInput(joinParts(parts), budget);
  });
}

/** In pieces to be sent one after the other. */
export function encodeInvocationRequest(input: ModelInput): Buffer[] {
  const pieces = encodeModelInput(input);
  const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  return [lengthTag(1, length), ...pieces];
}

export function decodeInvocationResponse(bytes: Buffer): InvocationResponse {
  const [status, message] = decoding('The response', () => readTextPair(bytes, { fields: 0 }));
  return { status, message };
}

export function encodeInvocationResponse({ status, message }: InvocationResponse): Buffer {
  return encodeTextPair(status, message);
}

/** Throws MALFORMED_REQUEST of bytes that are none. */
export function decodeModelInput(bytes: Buffer): ModelInput {
  return decoding('The input', () => readModelInput(bytes, { fields: 0 }));
}

/** In pieces, of which the content is one. */
export function encodeModelInput({ id, content, metadata }: ModelInput): Buffer[] {
  const rest = new BinaryWriter();
  for (const { key, value } of metadata) writeTextPair(rest, 3, key, value);
  return [encodeId(id), lengthTag(2, content.byteLength), content, written(rest)];
}

/** Likewise of an output. */
export function decodeModelOutput(bytes: Buffer): ModelOutput {
  return decoding('The output', () => {
    const budget: FieldBudget = { fields: 0 };
    const metadata = createMetadata(budget);
    let id = 0;
    readFields(
      bytes,
      (field, wireType, reader) => {
        if (field === 1 && wireType === WireType.Varint) id = reader.int32();
        else if (field === 2 && wireType === WireType.LengthDelimited)
          metadata.add(bytesOf(reader));
        else return false;
        return true;
      },
      budget,
    );
    return { id, metadata: metadata.entries };
  });
}

export function encodeModelOutput({ id, metadata }: ModelOutput): Buffer {
  const writer = new BinaryWriter().raw(encodeId(id));
  for (const { key, value } of metadata) writeTextPair(writer, 2, key, value);
  return written(writer);
}

function readModelInput(bytes: Buffer, budget: FieldBudget): ModelInput {
  const metadata = createMetadata(budget);
  let id = 0;
  let content: Buffer = Buffer.alloc(0);
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field === 1 && wireType === WireType.Varint) id = reader.int32();
      else if (wireType !== WireType.LengthDelimited) return false;
      else if (field === 2) content = bytesOf(reader);
      else if (field === 3) metadata.add(bytesOf(reader));
      else return false;
      return true;
    },
    budget,
  );
  if (!isUtf8(content)) {
    throw new AppError('MALFORMED_REQUEST', 'The content of the input is no UTF-8.');
  }
  return { id, content, metadata: metadata.entries };
}

function createMetadata(budget: FieldBudget) {
  const entries: MetadataEntry[] = [];
  let bytes = 0;
  return {
    entries,
    add(entry: Buffer) {
      bytes += entry.byteLength;
      if (entries.length === maxEntries || bytes > maxMetadataBytes) {
        throw new AppError(
          'MALFORMED_REQUEST',
          `The metadata is more than ${maxEntries} entries or ${maxMetadataBytes} bytes.`,
        );
      }
      const [key, value] = readTextPair(entry, budget);
      entries.push({ key, value });
    },
  };
}

function encodeId(id: number): Buffer {
  return id === 0 ? Buffer.alloc(0) : written(new BinaryWriter().tag(1, WireType.Varint).int32(id));
}
