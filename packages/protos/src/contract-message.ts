import {
  dataTypes,
  profiles,
  type ModelContract,
  type ModelField,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { checkedContract, invalidContract } from './contract-check.js';
import { dataTypeName } from './data-types.js';
import { outlineShape } from './tensor-outline.js';
import { addPart, BinaryWriter, bytesOf, joinParts, readFields, WireType } from './wire.js';

const maxDepth = 8;
const maxFields = 10_000;

/** A hydrosphere.contract.ModelContract: what /model/contract.protobin of a runtime container is. */
export function encodeModelContract(contract: ModelContract, modelName: string): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(modelName);
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(contract.signature_name);
  for (const field of contract.inputs) writeField(writer, 2, field);
  for (const field of contract.outputs) writeField(writer, 3, field);
  return Buffer.from(writer.join().finish());
}

/**
 * Of a file that was made elsewhere; of several signatures, as they stood there before 2019, `predict`,
 * or `infer`, or the first. Throws VALIDATION_FAILED with the place of what is wrong.
 */
export function decodeModelContract(bytes: Buffer): ModelContract {
  return checkedContract(readContract(bytes));
}

function writeField(writer: BinaryWriter, number: number, field: ModelField): void {
  writer.tag(number, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(field.name);
  if (field.shape !== undefined) {
    writer.tag(2, WireType.LengthDelimited).fork();
    for (const size of field.shape) {
      writer.tag(2, WireType.LengthDelimited).fork().tag(1, WireType.Varint).int64(size).join();
    }
    writer.join();
  }
  if (field.subfields !== undefined) {
    writer.tag(3, WireType.LengthDelimited).fork();
    for (const subfield of field.subfields) writeField(writer, 1, subfield);
    writer.join();
  } else if (field.dtype !== undefined) {
    writer.tag(4, WireType.Varint).int32(dataTypes[field.dtype]);
  }
  if (field.profile !== undefined) writer.tag(10, WireType.Varint).int32(profiles[field.profile]);
  writer.join();
}

function readContract(bytes: Buffer): ModelContract {
  try {
    const signatures: Buffer[] = [];
    readFields(bytes, (field, wireType, reader) => {
      if (field !== 2 || wireType !== WireType.LengthDelimited) return false;
      addPart(signatures, bytesOf(reader));
      return true;
    });
    if (signatures.length === 0) throw invalidContract('', 'it has no signature');
    const read = signatures.map(readSignature);
    const named = (name: string) => read.find((signature) => signature.signature_name === name);
    const chosen = named('predict') ?? named('infer') ?? read[0];
    if (chosen === undefined) throw invalidContract('', 'it has no signature');
    return { ...chosen, signature_name: chosen.signature_name || 'predict' };
  } catch (cause) {
    if (cause instanceof AppError && cause.code === 'VALIDATION_FAILED') throw cause;
    throw invalidContract('', 'it is no hydrosphere.contract.ModelContract');
  }
}

function readSignature(bytes: Buffer): ModelContract {
  const signature: ModelContract = { signature_name: '', inputs: [], outputs: [] };
  readFields(bytes, (field, wireType, reader) => {
    if (wireType !== WireType.LengthDelimited || field > 3) return false;
    if (field === 1) signature.signature_name = reader.string(true);
    else if (field === 2) addField(signature.inputs, bytesOf(reader), 'inputs', 1);
    else addField(signature.outputs, bytesOf(reader), 'outputs', 1);
    return true;
  });
  return signature;
}

function addField(fields: ModelField[], bytes: Buffer, place: string, depth: number): void {
  if (depth > maxDepth) throw invalidContract(place, 'fields stand in fields too deep');
  if (fields.length === maxFields) throw invalidContract(place, 'too many fields');
  fields.push(readField(bytes, `${place}[${fields.length}]`, depth));
}

function readField(bytes: Buffer, place: string, depth: number): ModelField {
  const read: ModelField = { name: '' };
  const shape: Buffer[] = [];
  const subfields: Buffer[] = [];
  readFields(bytes, (field, wireType, reader) => {
    if (wireType === WireType.LengthDelimited && field === 1) {
      read.name = reader.string(true);
    } else if (wireType === WireType.LengthDelimited && field === 2) {
      addPart(shape, bytesOf(reader));
    } else if (wireType === WireType.LengthDelimited && field === 3) {
      delete read.dtype; // Of a choice between two the later one counts.
      addPart(subfields, bytesOf(reader));
    } else if (wireType === WireType.Varint && field === 4) {
      subfields.length = 0;
      read.dtype = dataTypeName(reader.int32());
      if (read.dtype === undefined) throw invalidContract(`${place}.dtype`, 'no known data type');
    } else if (wireType === WireType.Varint && field === 10) {
      const number = reader.int32();
      const names = Object.keys(profiles) as (keyof typeof profiles)[];
      read.profile = names.find((name) => profiles[name] === number);
      if (read.profile === undefined) throw invalidContract(`${place}.profile`, 'no known profile');
    } else {
      return false;
    }
    return true;
  });
  if (shape.length > 0) addShape(read, joinParts(shape), place);
  if (subfields.length > 0) {
    const into: ModelField[] = [];
    readFields(joinParts(subfields), (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
      addField(into, bytesOf(reader), `${place}.subfields`, depth + 1);
      return true;
    });
    read.subfields = into;
  }
  return read;
}

/** Of unknown rank: nothing is said of it. */
function addShape(read: ModelField, bytes: Buffer, place: string): void {
  const { dims, unknownRank } = outlineShape(bytes);
  if (unknownRank) return;
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  if (dims.some((size) => size < -1n || size > limit)) {
    throw invalidContract(`${place}.shape`, 'a size is out of range');
  }
  read.shape = dims.map(Number);
}
