import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { fixedType } from './data-types.js';
import { elementForm } from './element-forms.js';
import { dtypeOfOip, oipDatatypeOf, type OipDatatype } from './oip-datatypes.js';
import type { NestedLists } from './nested-lists.js';
import { beginWriting, contentOfLists, encodeTexts, listsOf, wrong } from './plain-inputs.js';
import { inJson } from './telling.js';
import { encodeContent, encodeStrings, readNumbers } from './tensor-content.js';
import { bytesOf, decoding, maxFields, readFields, WireType } from './wire.js';

/** A ModelInfer request of the Open Inference Protocol, in whichever form it came. */
export interface InferRequest {
  /** '' where it says none, as in HTTP, where the path does. */
  modelName: string;
  modelVersion: string;
  /** '' where it has none; to be given back. */
  id: string;
  inputs: InferInput[];
  /** None: all that there are. */
  outputs: AskedOutput[];
  /** Whether outputs are wanted as bytes where they are not asked for one by one. */
  isBinary: boolean;
}

export interface InferInput {
  name: string;
  datatype: string;
  shape: number[];
  /** As bytes, as an InferTensorContents, or as JSON. */
  values: { raw: Buffer } | { contents: Buffer } | { data: unknown };
}

export interface AskedOutput {
  name: string;
  isBinary: boolean;
}

/** What would be answered wrongly where it was passed over; anything else that is said is a hint. */
const notOffered = new Set(['classification', 'shared_memory_region', 'sequence_id']);

/** Throws VALIDATION_FAILED of parameters that ask for what there is not. */
export function checkParameters(names: Iterable<string>): void {
  for (const name of names) {
    if (!notOffered.has(name)) continue;
    const text = `This server does not offer what the parameter "${name}" asks for.`;
    throw new AppError('VALIDATION_FAILED', text, { extensions: { parameter: name } });
  }
}

/**
 * The tensors of a PredictRequest. Their shapes are not compared with the contract's, but filled by their
 * values. Throws VALIDATION_FAILED with the name of the input, or of the output that is asked for.
 */
export function tensorsOfInferRequest(
  contract: Pick<ModelContract, 'inputs' | 'outputs'>,
  request: InferRequest,
): Map<string, Buffer> {
  checkOutputs(contract.outputs, request.outputs);
  const given = new Map(request.inputs.map((input) => [input.name, input]));
  if (given.size < request.inputs.length) {
    throw new AppError('VALIDATION_FAILED', 'There is an input that stands twice.');
  }
  const read: Reading = { typedBytes: 0 };
  const tensors = new Map(
    contract.inputs.map((field) => {
      const input = given.get(field.name);
      if (input === undefined) throw wrong(field.name, 'is missing');
      return [field.name, encodeInput(field, input, read)];
    }),
  );
  if (given.size > tensors.size) {
    throw new AppError('VALIDATION_FAILED', 'There is an input that the model does not have.');
  }
  return tensors;
}

/**
 * What a request says itself in place of a contract, of a model that has none. Throws VALIDATION_FAILED of a
 * datatype that nobody knows.
 */
export function contractOfInferRequest({
  inputs,
  outputs,
}: InferRequest): Pick<ModelContract, 'inputs' | 'outputs'> {
  return {
    inputs: inputs.map(({ name, datatype }) => {
      const dtype = dtypeOfOip(datatype);
      if (dtype !== undefined) return { name, dtype };
      throw new AppError('VALIDATION_FAILED', 'There is an input of a datatype that is not known.');
    }),
    // Of whichever type it will be.
    outputs: outputs.map(({ name }) => ({ name, dtype: 'DT_STRING' })),
  };
}

/** Before the model has worked for nothing. */
function checkOutputs(fields: readonly ModelField[], asked: readonly AskedOutput[]): void {
  const names = new Set(asked.map(({ name }) => name));
  const wanted = fields.filter(({ name }) => names.size === 0 || names.has(name));
  if (asked.length > names.size) {
    throw new AppError('VALIDATION_FAILED', 'There is an output that is asked for twice.');
  }
  if (names.size > wanted.length) {
    const text = 'There is an output asked for that the model does not have.';
    throw new AppError('VALIDATION_FAILED', text);
  }
  for (const field of wanted) oipDatatypeOf(field, 'output');
}

/**
 * Of a request, typed contents of numbers whose sizes vary: while they are read, one by one, nothing else is done,
 * and each byte may become eight.
 */
const maxTypedBytes = 8 * 1024 * 1024;

interface Reading {
  typedBytes: number;
}

function encodeInput(field: ModelField, input: InferInput, read: Reading): Buffer {
  const { name, dtype } = field;
  const datatype = oipDatatypeOf(field, 'input');
  if (input.datatype !== datatype.name) throw wrong(name, `must be ${datatype.name}`);
  const { shape } = input;
  const count = shape.reduce((product, size) => product * size, 1);
  // Many clients have no value without a list.
  const dims = field.shape?.length === 0 && count === 1 ? [] : shape;
  if (dtype === undefined || dtype === 'DT_STRING') {
    return encodeStringsOf(input, dims, count);
  }
  const content = contentOfInput(dtype, datatype, input, count, read);
  return Buffer.concat(encodeContent(dataTypes[dtype], dims, content));
}

function contentOfInput(
  dtype: keyof typeof dataTypes,
  { contents }: OipDatatype,
  input: InferInput,
  count: number,
  read: Reading,
): Buffer {
  const { name, values } = input;
  const type = fixedType(dataTypes[dtype]);
  const form = elementForm(dtype);
  if (type === undefined || form === undefined) throw new Error(`${dtype} has no fixed size`);
  if ('data' in values) {
    return contentOfLists(form, listsOfData(input, values.data, count), name, inJson);
  }
  if ('contents' in values && contents === undefined) {
    throw wrong(name, 'can be given as raw contents only');
  }
  if ('contents' in values && type.wire === 'varint') {
    read.typedBytes += values.contents.byteLength;
    if (read.typedBytes > maxTypedBytes) {
      throw wrong(name, 'has so much in typed contents that it is to be given as raw contents');
    }
  }
  const content =
    'raw' in values
      ? values.raw
      : named(name, () => readNumbers(values.contents, type, contents ?? 0));
  if (content.byteLength !== count * type.size) throw wrong(name, wrongCount);
  if (type.range === 'boolean' && content.some((byte) => byte > 1)) {
    throw wrong(name, 'has a byte that is neither 0 nor 1');
  }
  return content;
}

const wrongCount = 'has a number of values that is not that of its shape';

/** Values may be one list, row by row, whatever their shape. */
function listsOfData({ name, shape }: InferInput, data: unknown, count: number): NestedLists {
  const isFlat = Array.isArray(data) && !Array.isArray(data[0]);
  return listsOf({ shape: isFlat ? [count] : [...shape] }, data, name, () => false);
}

/** What is wrong with the message of a tensor is told with the tensor's name. */
function named<T>(name: string, read: () => T): T {
  try {
    return decoding('The tensor', read);
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw wrong(name, 'has contents that are no values of its datatype');
  }
}

function encodeStringsOf(input: InferInput, dims: readonly number[], count: number): Buffer {
  const { name, values } = input;
  if (count > maxFields) throw wrong(name, 'has too many values');
  if ('data' in values) {
    return encodeTexts(dims, listsOfData(input, values.data, count), name, beginWriting(inJson));
  }
  const strings =
    'raw' in values
      ? rawStrings(values.raw, count)
      : named(name, () => contentsStrings(values.contents, count));
  if (strings?.length !== count) throw wrong(name, wrongCount);
  return encodeStrings(dims, strings);
}

/** Each with its length before it, in four bytes; undefined where they are cut short or too many. */
function rawStrings(raw: Buffer, count: number): Buffer[] | undefined {
  const strings: Buffer[] = [];
  let at = 0;
  while (at < raw.byteLength) {
    if (strings.length === count || at + 4 > raw.byteLength) return undefined;
    const end = at + 4 + raw.readUInt32LE(at);
    if (end > raw.byteLength) return undefined;
    strings.push(raw.subarray(at + 4, end));
    at = end;
  }
  return strings;
}

function contentsStrings(contents: Buffer, count: number): Buffer[] | undefined {
  const strings: Buffer[] = [];
  readFields(contents, (field, wireType, reader) => {
    if (field !== 8 || wireType !== WireType.LengthDelimited || strings.length > count)
      return false;
    strings.push(bytesOf(reader));
    return true;
  });
  return strings;
}
