import { dataTypes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { fixedType, type FixedType } from './data-types.js';
import type { TensorOutline } from './tensor-outline.js';
import {
  BinaryWriter,
  bytesOf,
  decoding,
  lengthTag,
  readFields,
  takeNumbers,
  WireType,
  written,
  type BinaryReader,
} from './wire.js';

/** What a tensor may take once it is written out, however few bytes it came in. */
export const maxContentBytes = 256 * 1024 * 1024;
/** A string is far more than its bytes. */
const maxStrings = 4_000_000;
/** Of text, likewise: what is made of it grows with each place. */
export const maxFilledBytes = 64 * 1024 * 1024;

/**
 * The values of a tensor of a fixed-size type as they stand in `tensor_content`, in whichever way it has
 * them; where they are fewer, the last one stands in every place that is left. Throws MALFORMED_REQUEST where they do not make its shape.
 */
export function contentOf(tensor: TensorOutline): Buffer {
  const type = fixedType(tensor.dtype);
  if (type === undefined) throw badTensor('is of a type without a fixed size');
  const content = decoding('The tensor', () => readContent(tensor, type));
  const there = content.byteLength / type.size;
  if (!Number.isInteger(there)) throw badTensor('has part of a value');
  const wanted = valuesWanted(tensor, there, tensor.hasContent, type.size);
  return wanted === there ? content : filledUp(content, wanted * type.size, type.size);
}

/** The values of a DT_STRING tensor, likewise. */
export function stringsOf(tensor: TensorOutline): Buffer[] {
  const strings = stringsIn(tensor);
  const wanted = valuesWanted(tensor, strings.length, tensor.hasContent, 1);
  if (wanted === strings.length) return strings;
  const lastBytes = strings.at(-1)?.byteLength ?? 0;
  if (lastBytes * (wanted - strings.length) > maxFilledBytes) throw filledTooMuch();
  return filledList(strings, wanted);
}

/** Those that stand in it, which may be fewer than its shape wants. */
export function stringsIn(tensor: TensorOutline): Buffer[] {
  return decoding('The tensor', () => readStrings(tensor));
}

/** A TensorProto with its values in `tensor_content`, in pieces. */
export function encodeContent(dtype: number, dims: readonly number[], content: Buffer): Buffer[] {
  const head = [encodeTypeAndShape(dtype, dims)];
  return content.byteLength === 0 ? head : [...head, lengthTag(4, content.byteLength), content];
}

/** A TensorProto of text or bytes. */
export function encodeStrings(dims: readonly number[], strings: readonly Buffer[]): Buffer {
  const writer = new BinaryWriter();
  writer.raw(encodeTypeAndShape(dataTypes.DT_STRING, dims));
  for (const string of strings) writer.tag(8, WireType.LengthDelimited).bytes(string);
  return written(writer);
}

/** Where a string begins that stands in a TensorProto. */
export const stringTag = (8 << 3) | WireType.LengthDelimited;

/** Without any dim it says that there is one value, where a tensor without a shape says nothing. */
export function encodeTypeAndShape(dtype: number, dims: readonly number[]): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int32(dtype);
  writer.tag(2, WireType.LengthDelimited).fork();
  for (const size of dims) {
    writer.tag(2, WireType.LengthDelimited).fork().tag(1, WireType.Varint).int64(size).join();
  }
  return Buffer.from(writer.join().finish());
}

/** The sizes of a tensor that says them, as numbers. */
export function dimsOf(tensor: TensorOutline): number[] | undefined {
  if (tensor.shape === undefined || tensor.shape.unknownRank) return undefined;
  if (tensor.shape.dims.some((size) => size < 0n || size > BigInt(Number.MAX_SAFE_INTEGER))) {
    throw badTensor('has a size that is out of range');
  }
  return tensor.shape.dims.map(Number);
}

export function badTensor(what: string): AppError {
  return new AppError('MALFORMED_REQUEST', `A tensor ${what}.`);
}

export function filledTooMuch(): AppError {
  return badTensor('would take too much room with its last value in every place that is left');
}

/** How many values the shape wants of a tensor that has `there`. */
export function valuesWanted(
  tensor: TensorOutline,
  there: number,
  hasContent: boolean,
  bytesEach: number,
): number {
  const wanted = dimsOf(tensor)?.reduce((product, size) => product * size, 1) ?? there;
  if (wanted === there) return there;
  if (there === 0 || there > wanted || hasContent) {
    throw badTensor('has a number of values that is not its shape’s');
  }
  // Sizes that are out of all bounds may make no number.
  const most = bytesEach === 1 ? maxStrings : maxContentBytes / bytesEach;
  if (!(wanted <= most)) throw filledTooMuch();
  return wanted;
}

function filledUp(content: Buffer, bytes: number, size: number): Buffer {
  const whole = Buffer.alloc(bytes, content.subarray(-size));
  content.copy(whole);
  return whole;
}

/** With the last one in every place that is left; there is one. */
export function filledList<Value>(values: readonly Value[], wanted: number): Value[] {
  const last = values.at(-1) as Value;
  return [...values, ...new Array<Value>(wanted - values.length).fill(last)];
}

function readContent({ bytes, hasContent }: TensorOutline, type: FixedType): Buffer {
  if (!hasContent) return readNumbers(bytes, type, type.field);
  let content: Buffer = Buffer.alloc(0);
  readFields(bytes, (field, wireType, reader) => {
    if (field !== 4 || wireType !== WireType.LengthDelimited) return false;
    content = bytesOf(reader);
    return true;
  });
  return content;
}

/** The numbers that a message has in a field, as they would stand in `tensor_content`. */
export function readNumbers(bytes: Buffer, type: FixedType, wanted: number): Buffer {
  const values = createNumbers(type);
  readFields(bytes, (field, wireType, reader) => {
    if (field !== wanted) return false;
    if (type.wire === 'varint') {
      return takeNumbers(wireType, WireType.Varint, reader, values.addVarint);
    }
    const single = type.wire === 'float' ? WireType.Bit32 : WireType.Bit64;
    if (wireType !== single && wireType !== WireType.LengthDelimited) return false;
    // Numbers of a fixed size stand there as they do in the content.
    const start = reader.pos;
    const packed = wireType === single ? undefined : bytesOf(reader);
    if (packed === undefined) reader.skip(wireType, field);
    values.addBytes(packed ?? bytes.subarray(start, reader.pos));
    return true;
  });
  return values.finish();
}

/** Collects numbers in a buffer that doubles. */
function createNumbers(type: FixedType) {
  const { size } = type;
  let buffer = Buffer.alloc(0);
  let used = 0;
  const reserve = (more: number) => {
    if (used + more <= buffer.length) return;
    if (used + more > maxContentBytes) throw badTensor('would take too much room once written out');
    const larger = Buffer.alloc(Math.max(used + more, 2 * buffer.length, 64));
    buffer.copy(larger, 0, 0, used);
    buffer = larger;
  };
  return {
    addBytes(bytes: Buffer) {
      reserve(bytes.length);
      used += bytes.copy(buffer, used);
    },
    addVarint(reader: BinaryReader) {
      reserve(size);
      if (size === 8) buffer.writeBigUInt64LE(BigInt(reader.uint64()), used);
      else buffer.writeUIntLE(bitsOf(reader, type), used, size);
      used += size;
    },
    finish: () => buffer.subarray(0, used),
  };
}

/** Of a number that stands in a field for larger ones, too. */
function bitsOf(reader: BinaryReader, { size, range }: FixedType): number {
  if (range === 'boolean') return reader.bool() ? 1 : 0;
  const unsigned = reader.uint32();
  if (size === 4) return unsigned;
  const signed = unsigned | 0;
  if (range !== undefined && (signed < range[0] || signed > range[1])) {
    throw badTensor('has a number that is out of the range of its type');
  }
  return size === 1 ? signed & 0xff : signed & 0xffff;
}

function readStrings(tensor: TensorOutline): Buffer[] {
  const strings: Buffer[] = [];
  let content: Buffer | undefined;
  readFields(tensor.bytes, (field, wireType, reader) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 4) content = bytesOf(reader);
    else if (field !== 8 || tensor.hasContent) return false;
    else if (strings.length === maxStrings) throw badTensor('has too many strings');
    else strings.push(bytesOf(reader));
    return true;
  });
  return content === undefined || !tensor.hasContent ? strings : stringsInContent(tensor, content);
}

/** TensorFlow writes all lengths first, then all bytes. */
function stringsInContent(tensor: TensorOutline, content: Buffer): Buffer[] {
  const count = (dimsOf(tensor) ?? []).reduce((product, size) => product * size, 1);
  if (count > content.byteLength || count > maxStrings) throw badTensor('has too few strings');
  const lengths: number[] = [];
  let at = 0;
  while (lengths.length < count) {
    let length = 0;
    let shift = 1;
    let byte: number | undefined;
    do {
      byte = content[at];
      at += 1;
      if (byte === undefined || shift > 2 ** 28) throw badTensor('has strings cut short');
      length += (byte & 0x7f) * shift;
      shift *= 128;
    } while (byte >= 0x80);
    lengths.push(length);
  }
  const strings = lengths.map((length) => content.subarray(at, (at += length)));
  if (at !== content.byteLength) throw badTensor('has strings cut short');
  return strings;
}
