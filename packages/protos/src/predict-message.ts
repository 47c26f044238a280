import { AppError } from '@inference-server/errors';
import { takeTensor, type OutlineBudget, type TensorOutline } from './tensor-outline.js';
import {
  addPart,
  BinaryWriter,
  bytesOf,
  decoding,
  joinParts,
  lengthTag,
  readFields,
  WireType,
} from './wire.js';

export interface ModelSpec {
  /** '' where it says none. */
  name: string;
  version: bigint | undefined;
  signatureName: string;
}

export interface PredictRequestOutline {
  modelSpec: ModelSpec;
  inputs: Map<string, TensorOutline>;
  /** Whether it says more than whom it asks and the inputs: what to answer, and what nobody here knows. */
  hasMore: boolean;
  /** The request without its model_spec, as slices of it: to be sent behind another one. */
  rest: Buffer[];
}

export interface PredictResponseOutline {
  outputs: Map<string, TensorOutline>;
  /** The response without its outputs. */
  rest: Buffer[];
}

/**
 * Who is asked for, and what each tensor is, of a PredictRequest. Nothing is copied and no value is decoded.
 * Throws MALFORMED_REQUEST of bytes that are none.
 */
export function outlinePredictRequest(bytes: Buffer): PredictRequestOutline {
  return decoding('The request', () => {
    const inputs = new Map<string, TensorOutline>();
    const budget: OutlineBudget = { tensors: 0, fields: 0 };
    const spec: Buffer[] = [];
    let hasMore = false;
    const rest = readAllBut(bytes, budget, (field, value) => {
      if (field === 1 && value !== undefined) addPart(spec, value);
      else if (field === 2 && value !== undefined) takeTensor(value, inputs, budget);
      else hasMore = true;
    });
    return { modelSpec: modelSpecOf(joinParts(spec), budget), inputs, hasMore, rest };
  });
}

/** Likewise of a PredictResponse. */
export function outlinePredictResponse(bytes: Buffer): PredictResponseOutline {
  return decoding('The response', () => {
    const outputs = new Map<string, TensorOutline>();
    const budget: OutlineBudget = { tensors: 0, fields: 0 };
    const rest = readAllBut(bytes, budget, (field, value) => {
      if (field === 1 && value !== undefined) takeTensor(value, outputs, budget);
    });
    return { outputs, rest };
  });
}

/** Field 1 of a PredictRequest, whole: what goes before the `rest` of one, or before inputs. */
export function encodeModelSpec(spec: {
  name: string;
  version?: bigint | undefined;
  signatureName?: string | undefined;
}): Buffer {
  const writer = new BinaryWriter();
  if (spec.name !== '') writer.tag(1, WireType.LengthDelimited).string(spec.name);
  if (spec.version !== undefined) {
    writer.tag(2, WireType.LengthDelimited).fork();
    if (spec.version !== 0n) writer.tag(1, WireType.Varint).int64(spec.version);
    writer.join();
  }
  const { signatureName = '' } = spec;
  if (signatureName !== '') writer.tag(3, WireType.LengthDelimited).string(signatureName);
  const message = writer.finish();
  return Buffer.concat([lengthTag(1, message.byteLength), message]);
}

/** The inputs of a PredictRequest by name, each a TensorProto: in pieces to be sent one after the other. */
export function encodeInputs(tensors: ReadonlyMap<string, Buffer>): Buffer[] {
  return encodeTensors(2, tensors);
}

/** The outputs of a PredictResponse, likewise. */
export function encodeOutputs(tensors: ReadonlyMap<string, Buffer>): Buffer[] {
  return encodeTensors(1, tensors);
}

/** A `map<string, TensorProto>`, of which each entry has the name in field 1 and the tensor in field 2. */
export function encodeTensors(field: number, tensors: ReadonlyMap<string, Buffer>): Buffer[] {
  return [...tensors].flatMap(([name, tensor]) => {
    const key = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).finish();
    const value = lengthTag(2, tensor.byteLength);
    const length = key.byteLength + value.byteLength + tensor.byteLength;
    return [Buffer.concat([lengthTag(field, length), key, value]), tensor];
  });
}

/** Hands out each field, and the value of one that has a length; returns everything but the first field. */
function readAllBut(
  bytes: Buffer,
  budget: OutlineBudget,
  take: (field: number, value?: Buffer) => void,
): Buffer[] {
  const rest: Buffer[] = [];
  let keptFrom = 0;
  readFields(
    bytes,
    (field, wireType, reader, at) => {
      if (wireType !== WireType.LengthDelimited) {
        take(field);
        return false;
      }
      take(field, bytesOf(reader));
      if (field !== 1) return true;
      if (at > keptFrom) rest.push(bytes.subarray(keptFrom, at));
      keptFrom = reader.pos;
      return true;
    },
    budget,
  );
  if (bytes.byteLength > keptFrom) rest.push(bytes.subarray(keptFrom));
  return rest;
}

function modelSpecOf(bytes: Buffer, budget: OutlineBudget): ModelSpec {
  const spec: ModelSpec = { name: '', version: undefined, signatureName: '' };
  const version: Buffer[] = [];
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (wireType !== WireType.LengthDelimited || field > 3) return false;
      if (field === 1) spec.name = reader.string(true);
      else if (field === 2) addPart(version, bytesOf(reader));
      else spec.signatureName = reader.string(true);
      return true;
    },
    budget,
  );
  if (version.length === 0) return spec;
  return { ...spec, version: wrappedInteger(joinParts(version), budget) };
}

function wrappedInteger(bytes: Buffer, budget: OutlineBudget): bigint {
  let value = 0n;
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.Varint) return false;
      value = BigInt(reader.int64());
      return true;
    },
    budget,
  );
  if (value < 0n) {
    throw new AppError('MALFORMED_REQUEST', 'The version of model_spec is negative.');
  }
  return value;
}
