import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { fixedType } from './data-types.js';
import { elementForm } from './element-forms.js';
import { answered } from './plain-outputs.js';
import { encodeInputs, encodeOutputs, outlinePredictResponse } from './predict-message.js';
import {
  contentOf,
  dimsOf,
  encodeContent,
  encodeStrings,
  filledTooMuch,
  maxContentBytes,
  stringsOf,
} from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** Whether calls of a model can go together: all that it takes and gives has a leading -1. */
export function canBatch(contract: Pick<ModelContract, 'inputs' | 'outputs'>): boolean {
  const fields = [...contract.inputs, ...contract.outputs];
  return contract.inputs.length > 0 && contract.outputs.length > 0 && fields.every(hasRows);
}

/** The inputs of a call that can go with others, in the one form that fits those of all. */
export interface Rows {
  count: number;
  tensors: ReadonlyMap<string, RowTensor>;
}

interface RowTensor {
  dtype: number;
  /** The sizes of a row. */
  inner: readonly number[];
  values: Buffer | readonly Buffer[];
}

/**
 * The rows of a call, `most` at most; undefined where it must go alone, as one that only the model may judge:
 * whose values do not make its shape, or would take far more room written out than they came in. Its inputs
 * fulfil the contract.
 */
export function rowsOf(
  contract: Pick<ModelContract, 'inputs' | 'outputs'>,
  inputs: ReadonlyMap<string, TensorOutline>,
  most = Infinity,
): Rows | undefined {
  if (!canBatch(contract)) return undefined;
  try {
    const counts = contract.inputs.map(({ name }) => leadingOf(inputs.get(name)));
    const [count] = counts;
    if (count === undefined || count > most || counts.some((other) => other !== count)) {
      return undefined;
    }
    const tensors = new Map<string, RowTensor>();
    for (const { name } of contract.inputs) {
      const tensor = rowTensorOf(inputs.get(name));
      if (tensor === undefined) return undefined;
      tensors.set(name, tensor);
    }
    return { count, tensors };
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

/**
 * The inputs of one call with the rows of all, in their order and in pieces, without model_spec. Undefined
 * where they cannot go together: sizes of theirs that the contract leaves open differ.
 */
export function concatInputs(calls: readonly Rows[]): Buffer[] | undefined {
  const [first] = calls;
  if (first === undefined) return undefined;
  const count = calls.reduce((sum, call) => sum + call.count, 0);
  const tensors = new Map<string, Buffer>();
  for (const [name, { dtype, inner }] of first.tensors) {
    const parts = calls.flatMap((call) => call.tensors.get(name) ?? []);
    const isAlike = parts.every((part) => String(part.inner) === String(inner));
    if (!isAlike || parts.length < calls.length) return undefined;
    tensors.set(name, concatTensors(dtype, [count, ...inner], parts));
  }
  return encodeInputs(tensors);
}

/**
 * A PredictResponse for each of the calls that went together, by their rows. Throws MODEL_ERROR where an
 * output has another number of them.
 */
export function splitOutputs(bytes: Buffer, rowCounts: readonly number[]): Buffer[] {
  return answered(() => {
    const { outputs, rest } = outlinePredictResponse(bytes);
    const calls = rowCounts.map(() => new Map<string, Buffer>());
    const rows = rowCounts.reduce((sum, count) => sum + count, 0);
    /** What no bytes came for: values that stand in every place that is left. */
    let grown = 0;
    for (const [name, tensor] of outputs) {
      if (leadingOf(tensor) !== rows) {
        throw new AppError('MODEL_ERROR', 'An output has another number of rows than the inputs.');
      }
      const parts = splitTensor(tensor, rowCounts);
      grown += parts.reduce((sum, part) => sum + part.byteLength, -tensor.bytes.byteLength);
      if (grown > maxContentBytes) throw filledTooMuch();
      parts.forEach((part, index) => calls[index]?.set(name, part));
    }
    return calls.map((call) => Buffer.concat([...encodeOutputs(call), ...rest]));
  });
}

function hasRows({ dtype, shape }: ModelField): boolean {
  if (shape?.[0] !== -1 || dtype === undefined) return false;
  return dtype === 'DT_STRING' || elementForm(dtype) !== undefined;
}

function leadingOf(tensor: TensorOutline | undefined): number | undefined {
  return tensor === undefined ? undefined : dimsOf(tensor)?.[0];
}

/** A number of 64 bits that came as a byte grows as much; one value that stands for all grows without end. */
const mostGrowth = 8;

/** Throws MALFORMED_REQUEST where its values do not make its shape. */
function rowTensorOf(tensor: TensorOutline | undefined): RowTensor | undefined {
  const dims = tensor && dimsOf(tensor);
  if (tensor === undefined || dims === undefined) return undefined;
  const { dtype, bytes } = tensor;
  const each = dtype === dataTypes.DT_STRING ? 1 : (fixedType(dtype)?.size ?? 1);
  const wanted = dims.reduce((product, size) => product * size, each);
  if (wanted > mostGrowth * bytes.byteLength) return undefined;
  const values = dtype === dataTypes.DT_STRING ? stringsOf(tensor) : contentOf(tensor);
  return { dtype, inner: dims.slice(1), values };
}

function concatTensors(
  dtype: number,
  dims: readonly number[],
  parts: readonly RowTensor[],
): Buffer {
  const pieces = parts.flatMap(({ values }) => values as Buffer | Buffer[]);
  if (dtype === dataTypes.DT_STRING) return encodeStrings(dims, pieces);
  return Buffer.concat(encodeContent(dtype, dims, Buffer.concat(pieces)));
}

function splitTensor(tensor: TensorOutline, rowCounts: readonly number[]): Buffer[] {
  const partOf = rowsReader(tensor, dimsOf(tensor) ?? []);
  let at = 0;
  return rowCounts.map((count) => {
    const from = at;
    at += count;
    return partOf(from, at);
  });
}

/** Makes a tensor of the rows from one up to another. */
function rowsReader(
  tensor: TensorOutline,
  [rows = 0, ...inner]: readonly number[],
): (from: number, to: number) => Buffer {
  const perRow = (length: number) => (rows === 0 ? 0 : length / rows);
  if (tensor.dtype === dataTypes.DT_STRING) {
    const strings = stringsOf(tensor);
    const each = perRow(strings.length);
    return (from, to) =>
      encodeStrings([to - from, ...inner], strings.slice(from * each, to * each));
  }
  const content = contentOf(tensor);
  const each = perRow(content.length);
  return (from, to) => {
    const part = content.subarray(from * each, to * each);
    return Buffer.concat(encodeContent(tensor.dtype, [to - from, ...inner], part));
  };
}
