import { dataTypes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { fixedType } from './data-types.js';
import {
  addPart,
  bytesOf,
  joinParts,
  readFields,
  WireType,
  type BinaryReader,
  type FieldBudget,
} from './wire.js';

/** What can be told of a tensor without looking at its values. */
export interface TensorOutline {
  /** The number of its DataType; 0 where it says none. */
  dtype: number;
  shape: TensorShape | undefined;
  /**
   * How many values stand in it, where that is told without decoding them: no whole number where
   * `tensor_content` is no multiple of a value's size.
   */
  elements: number | undefined;
  /** Whether the values stand in `tensor_content`. */
  hasContent: boolean;
  /** The TensorProto, as a slice of what it came in. */
  bytes: Buffer;
  /** Of a DT_MAP: its values. */
  subtensors?: Map<string, TensorOutline>[];
}

export interface TensorShape {
  dims: bigint[];
  unknownRank: boolean;
}

export const maxDims = 254;
const maxDepth = 16;
/** Of all maps of a message together: what stands for one takes far more room than its bytes. */
export const maxTensors = 100_000;
/** Longer lists of numbers of no fixed size are not counted through. */
const maxCountedBytes = 64 * 1024;

/** Counts what has been read of a message. */
export interface OutlineBudget extends FieldBudget {
  tensors: number;
}

/** The tensors of a `map<string, TensorProto>`, entry by entry: a name that comes again is the later one. */
export function takeTensor(
  entry: Buffer,
  tensors: Map<string, TensorOutline>,
  budget: OutlineBudget,
  depth = 0,
): void {
  let name = '';
  const value: Buffer[] = [];
  readFields(
    entry,
    (field, wireType, reader) => {
      if (wireType !== WireType.LengthDelimited || field > 2) return false;
      if (field === 1) name = reader.string(true);
      else addPart(value, bytesOf(reader));
      return true;
    },
    budget,
  );
  budget.tensors += 1;
  if (budget.tensors > maxTensors) {
    throw new AppError('MALFORMED_REQUEST', `More than ${maxTensors} tensors are one message.`);
  }
  tensors.set(name, outlineTensor(joinParts(value), budget, depth));
}

export function outlineTensor(bytes: Buffer, budget: OutlineBudget, depth = 0): TensorOutline {
  if (depth > maxDepth) {
    throw new AppError('MALFORMED_REQUEST', `Maps stand in maps more than ${maxDepth} deep.`);
  }
  let dtype = 0;
  const shape: Buffer[] = [];
  let contentBytes = 0;
  const counts = new Map<number, number | undefined>();
  const subtensors: Map<string, TensorOutline>[] = [];
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field === 1 && wireType === WireType.Varint) {
        dtype = reader.int32();
      } else if (wireType === WireType.LengthDelimited && field === 2) {
        addPart(shape, bytesOf(reader));
      } else if (wireType === WireType.LengthDelimited && field === 4) {
        contentBytes = reader.bytes().byteLength;
      } else if (wireType === WireType.LengthDelimited && field === 27) {
        subtensors.push(outlineMap(bytesOf(reader), budget, depth + 1));
      } else if (field >= 5) {
        return count(counts, field, wireType, reader);
      } else {
        return false;
      }
      return true;
    },
    budget,
  );
  const outline: TensorOutline = {
    dtype,
    shape: shape.length === 0 ? undefined : outlineShape(joinParts(shape), budget),
    elements: elementsOf(dtype, contentBytes, counts, subtensors.length),
    hasContent: contentBytes > 0,
    bytes,
  };
  return dtype === dataTypes.DT_MAP ? { ...outline, subtensors } : outline;
}

function outlineMap(
  bytes: Buffer,
  budget: OutlineBudget,
  depth: number,
): Map<string, TensorOutline> {
  const tensors = new Map<string, TensorOutline>();
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
      takeTensor(bytesOf(reader), tensors, budget, depth);
      return true;
    },
    budget,
  );
  return tensors;
}

/** Of a TensorShapeProto. */
export function outlineShape(bytes: Buffer, budget: FieldBudget = { fields: 0 }): TensorShape {
  const shape: TensorShape = { dims: [], unknownRank: false };
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field === 2 && wireType === WireType.LengthDelimited) {
        if (shape.dims.length === maxDims) {
          throw new AppError('MALFORMED_REQUEST', `A tensor has more than ${maxDims} dimensions.`);
        }
        shape.dims.push(dimOf(reader.bytes(), budget));
      } else if (field === 3 && wireType === WireType.Varint) {
        shape.unknownRank = reader.bool();
      } else {
        return false;
      }
      return true;
    },
    budget,
  );
  return shape;
}

function dimOf(bytes: Uint8Array, budget: FieldBudget): bigint {
  let size = 0n;
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.Varint) return false;
      size = BigInt(reader.int64());
      return true;
    },
    budget,
  );
  return size;
}

/** Numbers of the fields that values may stand in; of packed varints only where they are few. */
function count(
  counts: Map<number, number | undefined>,
  field: number,
  wireType: WireType,
  reader: BinaryReader,
): boolean {
  if (wireType === WireType.StartGroup || wireType === WireType.EndGroup) return false;
  const before = counts.has(field) ? counts.get(field) : 0;
  let more: number | undefined = 1;
  if (wireType !== WireType.LengthDelimited || field === 8) {
    reader.skip(wireType, field);
  } else {
    const values = reader.bytes();
    if (field === 5 || field === 9) more = values.byteLength / 4;
    else if (field === 6 || field === 12) more = values.byteLength / 8;
    else more = values.byteLength > maxCountedBytes ? undefined : varintsIn(values);
  }
  counts.set(field, before === undefined || more === undefined ? undefined : before + more);
  return true;
}

/** Each ends with a byte whose highest bit is not set. */
function varintsIn(bytes: Uint8Array): number {
  let ends = 0;
  for (const byte of bytes) if (byte < 0x80) ends += 1;
  return ends;
}

function elementsOf(
  dtype: number,
  contentBytes: number,
  counts: Map<number, number | undefined>,
  maps: number,
): number | undefined {
  if (dtype === dataTypes.DT_MAP) return maps;
  const type = fixedType(dtype);
  if (type !== undefined) {
    if (contentBytes > 0) return contentBytes / type.size;
    const numbers = counts.has(type.field) ? counts.get(type.field) : 0;
    return numbers === undefined ? undefined : numbers / type.numbers;
  }
  // Text in tensor_content is told by its lengths, which stand among it.
  if (dtype !== dataTypes.DT_STRING || contentBytes > 0) return undefined;
  return counts.get(8) ?? 0;
}
