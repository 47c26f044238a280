import { AppError } from '@inference-server/errors';
import type { OipModelMetadata, OipTensorMetadata } from './oip-metadata.js';
import type { InferOutput } from './oip-outputs.js';
import {
  checkParameters,
  type AskedOutput,
  type InferInput,
  type InferRequest,
} from './oip-request.js';
import { maxDims } from './tensor-outline.js';
import {
  addPart,
  BinaryWriter,
  bytesOf,
  decoding,
  joinParts,
  lengthTag,
  readFields,
  readTextPair,
  takeNumbers,
  WireType,
  writeText,
  written,
  type FieldBudget,
} from './wire.js';

/** A contract has as many fields at most. */
const maxTensors = 1_000;
const maxParameters = 1_000;

/** Counts what has been read of a request. */
interface InferBudget extends FieldBudget {
  parameters: number;
}

/** What a ModelReadyRequest or a ModelMetadataRequest asks of; '' where it says none. */
export function decodeOipModelRequest(bytes: Buffer): { name: string; version: string } {
  const [name, version] = decoding('The request', () => readTextPair(bytes, { fields: 0 }));
  return { name, version };
}

/** A ServerLiveResponse, ServerReadyResponse or ModelReadyResponse. */
export function encodeOipState(isSo: boolean): Buffer {
  return isSo ? written(new BinaryWriter().tag(1, WireType.Varint).bool(true)) : Buffer.alloc(0);
}

export function encodeOipServerMetadata(metadata: {
  name: string;
  version: string;
  extensions: readonly string[];
}): Buffer {
  const writer = new BinaryWriter();
  writeText(writer, 1, metadata.name);
  writeText(writer, 2, metadata.version);
  for (const one of metadata.extensions) writer.tag(3, WireType.LengthDelimited).string(one);
  return written(writer);
}

export function encodeOipModelMetadata(metadata: OipModelMetadata): Buffer {
  const writer = new BinaryWriter();
  writeText(writer, 1, metadata.name);
  for (const version of metadata.versions) writer.tag(2, WireType.LengthDelimited).string(version);
  writeText(writer, 3, metadata.platform);
  for (const tensor of metadata.inputs) writeTensor(writer, 4, tensor);
  for (const tensor of metadata.outputs) writeTensor(writer, 5, tensor);
  return written(writer);
}

/**
 * A ModelInferRequest, whose values are slices of it. Throws MALFORMED_REQUEST of bytes that are none, and
 * VALIDATION_FAILED of parameters that ask for what there is not.
 */
export function decodeInferRequest(bytes: Buffer): InferRequest {
  return decoding('The request', () => {
    const budget: InferBudget = { fields: 0, parameters: 0 };
    const texts = ['', '', ''];
    const inputs: InferInput[] = [];
    const outputs: AskedOutput[] = [];
    const raw: Buffer[] = [];
    readFields(
      bytes,
      (field, wireType, reader) => {
        if (wireType !== WireType.LengthDelimited || field > 7) return false;
        if (field <= 3) texts[field - 1] = reader.string(true);
        else if (field === 4) takeParameter(bytesOf(reader), budget);
        else if (field === 5) addOne(inputs, readInput(bytesOf(reader), budget));
        else if (field === 6) addOne(outputs, readAskedOutput(bytesOf(reader), budget));
        else addOne(raw, bytesOf(reader));
        return true;
      },
      budget,
    );
    const [modelName = '', modelVersion = '', id = ''] = texts;
    return { modelName, modelVersion, id, inputs: withRaw(inputs, raw), outputs, isBinary: true };
  });
}

/** A ModelInferResponse with raw_output_contents, in pieces to be sent one after the other. */
export function encodeInferResponse(
  head: { modelName: string; modelVersion: string; id: string },
  outputs: readonly InferOutput[],
): Buffer[] {
  const writer = new BinaryWriter();
  writeText(writer, 1, head.modelName);
  writeText(writer, 2, head.modelVersion);
  writeText(writer, 3, head.id);
  for (const output of outputs) writeTensor(writer, 5, output);
  const contents = outputs.flatMap(({ values }) => {
    const raw = rawOf(values);
    return [lengthTag(6, raw.byteLength), raw];
  });
  return [written(writer), ...contents];
}

/** As bytes: texts each with its length before it, in four of them. */
export function rawOf(values: Buffer | readonly Buffer[]): Buffer {
  if (Buffer.isBuffer(values)) return values;
  const raw = Buffer.alloc(values.reduce((sum, text) => sum + 4 + text.byteLength, 0));
  let at = 0;
  for (const text of values) {
    raw.writeUInt32LE(text.byteLength, at);
    text.copy(raw, at + 4);
    at += 4 + text.byteLength;
  }
  return raw;
}

function writeTensor(writer: BinaryWriter, field: number, tensor: OipTensorMetadata): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  writeText(writer, 1, tensor.name);
  writeText(writer, 2, tensor.datatype);
  if (tensor.shape.length > 0) {
    writer.tag(3, WireType.LengthDelimited).fork();
    for (const size of tensor.shape) writer.int64(size);
    writer.join();
  }
  writer.join();
}

function addOne<One>(list: One[], one: One): void {
  if (list.length === maxTensors) {
    throw new AppError('MALFORMED_REQUEST', `The request has more than ${maxTensors} tensors.`);
  }
  list.push(one);
}

/** What most of them say is a hint: only what none may say matters. */
function takeParameter(entry: Buffer, budget: InferBudget): void {
  budget.parameters += 1;
  if (budget.parameters > maxParameters) {
    throw new AppError(
      'MALFORMED_REQUEST',
      `The request has more than ${maxParameters} parameters.`,
    );
  }
  readFields(
    entry,
    (field, wireType, reader) => {
      if (field !== 1 || wireType !== WireType.LengthDelimited) return false;
      checkParameters([reader.string(true)]);
      return true;
    },
    budget,
  );
}

function readInput(bytes: Buffer, budget: InferBudget): InferInput {
  const input = { name: '', datatype: '' };
  const shape: number[] = [];
  const contents: Buffer[] = [];
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (field === 3) {
        return takeNumbers(wireType, WireType.Varint, reader, (from) => {
          shape.push(sizeOf(from.int64(), shape.length));
        });
      }
      if (wireType !== WireType.LengthDelimited) return false;
      if (field === 1) input.name = reader.string(true);
      else if (field === 2) input.datatype = reader.string(true);
      else if (field === 4) takeParameter(bytesOf(reader), budget);
      else if (field === 5) addPart(contents, bytesOf(reader));
      else return false;
      return true;
    },
    budget,
  );
  return { ...input, shape, values: { contents: joinParts(contents) } };
}

function sizeOf(value: bigint | string | number, dims: number): number {
  const size = Number(value);
  if (dims === maxDims) {
    throw new AppError('MALFORMED_REQUEST', `A tensor has more than ${maxDims} dimensions.`);
  }
  if (size >= 0 && Number.isSafeInteger(size)) return size;
  throw new AppError('MALFORMED_REQUEST', 'A tensor has a size that is out of range.');
}

function readAskedOutput(bytes: Buffer, budget: InferBudget): AskedOutput {
  let name = '';
  readFields(
    bytes,
    (field, wireType, reader) => {
      if (wireType !== WireType.LengthDelimited || field > 2) return false;
      if (field === 1) name = reader.string(true);
      else takeParameter(bytesOf(reader), budget);
      return true;
    },
    budget,
  );
  return { name, isBinary: true };
}

/** All have their bytes there, or none. */
function withRaw(inputs: InferInput[], raw: readonly Buffer[]): InferInput[] {
  if (raw.length === 0) return inputs;
  const hasContents = ({ values }: InferInput) =>
    'contents' in values && values.contents.byteLength > 0;
  if (raw.length !== inputs.length || inputs.some(hasContents)) {
    throw new AppError(
      'MALFORMED_REQUEST',
      'The raw_input_contents are to stand for each input, in place of its contents.',
    );
  }
  return inputs.map((input, index) => ({
    ...input,
    values: { raw: raw[index] ?? Buffer.alloc(0) },
  }));
}
