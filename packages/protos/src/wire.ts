import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { AppError } from '@inference-server/errors';

export { BinaryWriter, WireType, type BinaryReader };

/** Counts the fields that were read, of a message and of all that stands in it. */
export interface FieldBudget {
  fields: number;
}

/** Each takes its time, and may have two bytes only: nothing else is done while a message is read. */
export const maxFields = 1_000_000;
/** Nobody has written groups for long. */
const maxGroupDepth = 100;

/**
 * Goes through the fields of a message. `take` reads the value of a field that it knows, in the form that it
 * knows, and answers true; every other field is passed over, as protobuf wants it. `at`: where it begins.
 * Throws MALFORMED_REQUEST where they are more than anybody waits for.
 */
export function readFields(
  bytes: Uint8Array,
  take: (field: number, wireType: WireType, reader: BinaryReader, at: number) => boolean,
  budget: FieldBudget = { fields: 0 },
): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const at = reader.pos;
    const [field, wireType] = nextTag(reader, budget);
    if (!take(field, wireType, reader, at)) skipField(reader, field, wireType, budget);
  }
  // A number of fixed size is read beyond the end without a word where the buffer goes on.
  if (reader.pos > reader.len) throw new RangeError('A value goes beyond the end of its message.');
}

function nextTag(reader: BinaryReader, budget: FieldBudget): [number, WireType] {
  budget.fields += 1;
  if (budget.fields > maxFields) {
    throw new AppError('MALFORMED_REQUEST', `A message has more than ${maxFields} fields.`);
  }
  return reader.tag();
}

/** As the reader does it, and counts what stands in groups. */
function skipField(
  reader: BinaryReader,
  field: number,
  wireType: WireType,
  budget: FieldBudget,
  depth = 0,
): void {
  if (wireType !== WireType.StartGroup) {
    reader.skip(wireType, field);
    return;
  }
  if (depth > maxGroupDepth) throw new RangeError('Groups stand in groups too deep.');
  for (;;) {
    const [inner, innerType] = nextTag(reader, budget);
    if (innerType !== WireType.EndGroup) skipField(reader, inner, innerType, budget, depth + 1);
    else if (inner === field) return;
    else throw new RangeError('A group ends that has not begun.');
  }
}

/** A value of its own length, as a slice: nothing is copied. */
export function bytesOf(reader: BinaryReader): Buffer {
  const bytes = reader.bytes();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Far more than any writer gives a message in. */
const maxParts = 100;

/** A message that is given in several parts is what all of them say: their bytes, one after the other. */
export function addPart(parts: Buffer[], part: Buffer): void {
  if (parts.length === maxParts) throw new RangeError('A message is given in too many parts.');
  parts.push(part);
}

/** One part is a slice still. */
export function joinParts(parts: Buffer[]): Buffer {
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

/** A number field of which one or many, packed, may stand: as `read` reads one. */
export function takeNumbers(
  wireType: WireType,
  single: WireType,
  reader: BinaryReader,
  read: (reader: BinaryReader) => void,
): boolean {
  if (wireType === single) {
    read(reader);
    return true;
  }
  if (wireType !== WireType.LengthDelimited) return false;
  const values = new BinaryReader(reader.bytes());
  while (values.pos < values.len) read(values);
  if (values.pos > values.len) throw new RangeError('A packed value is cut short.');
  return true;
}

/** The texts of a map's entry, or of whatever else has a key in field 1 and a value in field 2. */
export function readTextPair(bytes: Buffer, budget: FieldBudget): [key: string, value: string] {
  const pair: [string, string] = ['', ''];
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (wireType !== WireType.LengthDelimited || field > 2) return false;
      pair[field - 1] = reader.string(true);
      return true;
    },
    budget,
  );
  return pair;
}

export function writeTextPair(
  writer: BinaryWriter,
  field: number,
  key: string,
  value: string,
): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  writeTexts(writer, key, value);
  writer.join();
}

/** A message of two texts, as {@link readTextPair} reads it. */
export function encodeTextPair(first: string, second: string): Buffer {
  const writer = new BinaryWriter();
  writeTexts(writer, first, second);
  return written(writer);
}

function writeTexts(writer: BinaryWriter, first: string, second: string): void {
  writeText(writer, 1, first);
  writeText(writer, 2, second);
}

/** An empty text is one that is not written. */
export function writeText(writer: BinaryWriter, field: number, text: string): void {
  if (text !== '') writer.tag(field, WireType.LengthDelimited).string(text);
}

/** What a writer has written, without a copy. */
export function written(writer: BinaryWriter): Buffer {
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Makes an AppError of whatever a reader of foreign bytes throws. */
export function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('MALFORMED_REQUEST', `${what} is no valid protobuf message.`, { cause });
  }
}

/** What stands before a value of its own length. */
export function lengthTag(field: number, length: number): Buffer {
  return Buffer.from(
    new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish(),
  );
}

/** A length as a varint; gives where it ends. */
export function writeLength(into: Buffer, at: number, length: number): number {
  let left = length;
  let end = at;
  for (; left > 0x7f; left = Math.floor(left / 128)) {
    into[end] = (left & 0x7f) | 0x80;
    end += 1;
  }
  into[end] = left;
  return end + 1;
}

/** How many bytes it takes. */
export function bytesOfLength(length: number): number {
  let bytes = 1;
  for (let left = length; left > 0x7f; left = Math.floor(left / 128)) bytes += 1;
  return bytes;
}
