import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { dataTypeName } from './data-types.js';
import { elementForm, type ElementForm } from './element-forms.js';
import { outlinePredictResponse } from './predict-message.js';
import {
  badTensor,
  contentOf,
  dimsOf,
  filledList,
  filledTooMuch,
  stringsOf,
  valuesWanted,
} from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';
import { asValues, inJson, type Telling } from './telling.js';
import { plainText } from './text-form.js';
import { toldSize } from './told-size.js';

/**
 * Lists in lists, of a message: a shape may say millions that have nothing in them, or hundreds around one value. Each
 * takes a microsecond and dozens of bytes.
 */
const maxLists = 4_000_000;
/** Each is far more than its bytes. */
const maxValuesTold = 32_000_000;
/** Of an answer in JSON: while a second or two go by for as many, nothing else is done. */
export const maxJsonValues = 4_000_000;

/**
 * The outputs of a PredictResponse as a JSON text. Throws MODEL_ERROR of an answer that is none, or that
 * cannot be told in JSON.
 */
export function jsonFromPredictResponse(
  contract: Pick<ModelContract, 'outputs'>,
  bytes: Buffer,
): string {
  return answered(() => {
    const outputs = outputsOf(bytes, maxJsonValues);
    return JSON.stringify(plainTensors(contract.outputs, outputs, inJson));
  });
}

/**
 * The outputs of a PredictResponse by name as values of JavaScript: bytes that are no UTF-8 as a Uint8Array (a slice
 * of the message), a whole number beyond 2^53 - 1 as a bigint. Throws MODEL_ERROR of an answer that is none, or has
 * more than `maxValues`.
 */
export function plainOutputs(
  contract: Pick<ModelContract, 'outputs'>,
  bytes: Buffer,
  maxValues?: number,
): Record<string, unknown> {
  return answered(() => plainTensors(contract.outputs, outputsOf(bytes, maxValues), asValues));
}

function outputsOf(bytes: Buffer, maxValues?: number): ReadonlyMap<string, TensorOutline> {
  const { outputs } = outlinePredictResponse(bytes);
  if (maxValues !== undefined && toldSize(outputs).values > maxValues) {
    throw new AppError('MODEL_ERROR', `It has more than ${maxValues} values, which is too many.`);
  }
  return outputs;
}

/** Whatever is wrong with an answer is the model's fault, not the caller's. */
export function answered<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof AppError) {
      throw new AppError('MODEL_ERROR', `The model's answer cannot be read: ${cause.message}`, {
        cause,
      });
    }
    // A text that is longer than any string may be.
    if (!(cause instanceof RangeError)) throw cause;
    throw new AppError('MODEL_ERROR', "The model's answer is too large for JSON.", { cause });
  }
}

/** Throws MALFORMED_REQUEST of tensors that cannot be told, or are too much to be. */
export function plainTensors(
  fields: readonly ModelField[],
  tensors: ReadonlyMap<string, TensorOutline>,
  telling: Telling,
): Record<string, unknown> {
  if (toldSize(tensors).filled.values > maxValuesTold) throw filledTooMuch();
  return plainMap(fields, tensors, { telling, listsLeft: maxLists });
}

interface Reading {
  telling: Telling;
  listsLeft: number;
}

function plainMap(
  fields: readonly ModelField[],
  tensors: ReadonlyMap<string, TensorOutline>,
  reading: Reading,
): Record<string, unknown> {
  const byName = new Map(fields.map((field) => [field.name, field]));
  // Not by assignment: a name may be __proto__.
  return Object.fromEntries(
    [...tensors].map(([name, tensor]) => [name, plainTensor(byName.get(name), tensor, reading)]),
  );
}

function plainTensor(
  field: ModelField | undefined,
  tensor: TensorOutline,
  reading: Reading,
): unknown {
  const values = plainValues(field, tensor, reading);
  const dims = dimsOf(tensor) ?? contractDims(field?.shape, values.length);
  const isScalar = field?.shape?.length === 0 || dims === undefined || dims.length === 0;
  if (isScalar && values.length === 1) return values[0];
  takeLists(reading, listsOf(dims ?? []));
  return dims === undefined ? values : nested(values, dims);
}

/** Of a tensor that says no shape: the contract's, where its values make it. */
export function contractDims(
  shape: readonly number[] | undefined,
  count: number,
): number[] | undefined {
  if (shape === undefined || shape.length === 0) return undefined;
  const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1);
  const unknowns = shape.filter((size) => size === -1).length;
  const left = known === 0 ? 0 : count / known;
  if (unknowns > 1 || !Number.isInteger(left)) return undefined;
  if (unknowns === 0 && known !== count) return undefined;
  return shape.map((size) => (size === -1 ? left : size));
}

function plainValues(
  field: ModelField | undefined,
  tensor: TensorOutline,
  reading: Reading,
): unknown[] {
  const { telling } = reading;
  if (tensor.dtype === dataTypes.DT_STRING) {
    return plainTexts(stringsOf(tensor), telling);
  }
  if (tensor.dtype === dataTypes.DT_MAP) return plainMaps(field, tensor, reading);
  const dtype = dataTypeName(tensor.dtype);
  const form = dtype === undefined ? undefined : elementForm(dtype);
  if (form === undefined) {
    throw badTensor(`is of the type ${dtype ?? 'DT_INVALID'}, which has no plain form`);
  }
  return valuesOfContent(form, contentOf(tensor), telling);
}

function plainTexts(strings: readonly Buffer[], telling: Telling): unknown[] {
  let read: Buffer | undefined;
  let text: unknown;
  return strings.map((bytes) => {
    // One that stands in many places is read once.
    if (bytes !== read) [read, text] = [bytes, plainText(bytes, telling)];
    return text;
  });
}

/** Of numbers, what `tensor_content` has. */
export function valuesOfContent(form: ElementForm, content: Buffer, telling: Telling): unknown[] {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const count = content.byteLength / form.size;
  if (count > maxValuesTold) throw badTensor('has too many values to tell each');
  const values = new Array<unknown>(count);
  for (let index = 0; index < count; index += 1) {
    values[index] = form.read(view, index * form.size, telling);
  }
  return values;
}

function plainMaps(
  field: ModelField | undefined,
  tensor: TensorOutline,
  reading: Reading,
): unknown[] {
  let listsOfLast = 0;
  const maps = (tensor.subtensors ?? []).map((map) => {
    const before = reading.listsLeft;
    const values = plainMap(field?.subfields ?? [], map, reading);
    listsOfLast = before - reading.listsLeft;
    return values;
  });
  const wanted = valuesWanted(tensor, maps.length, false, 1);
  if (wanted === maps.length) return maps;
  takeLists(reading, listsOfLast * (wanted - maps.length));
  return filledList(maps, wanted);
}

/** Before they are made. */
function takeLists(reading: Reading, lists: number): void {
  if (!(lists <= reading.listsLeft)) throw badTensor('has too many lists in lists');
  reading.listsLeft -= lists;
}

/** The outermost and those in it. */
function listsOf(dims: readonly number[]): number {
  let lists = 1;
  let ofThisDepth = 1;
  for (const size of dims.slice(0, -1)) {
    ofThisDepth *= size;
    lists += ofThisDepth;
  }
  return lists;
}

function nested(values: unknown[], dims: readonly number[]): unknown {
  let at = 0;
  const listOf = (level: number): unknown => {
    const size = dims[level] ?? 0;
    if (level === dims.length - 1) return values.slice(at, (at += size));
    // Array.from() takes three times as long.
    const lists = new Array<unknown>(size);
    for (let index = 0; index < size; index += 1) lists[index] = listOf(level + 1);
    return lists;
  };
  return dims.length === 0 ? values : listOf(0);
}
