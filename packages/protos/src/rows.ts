import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm } from './element-forms.js';
import { answered } from './plain-outputs.js';
import { encodeInputs, encodeOutputs, outlinePredictResponse } from './predict-message.js';
import { contentOf, dimsOf, encodeContent, encodeStrings, stringsOf } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** Whether calls of a model can go together: all that it takes and gives has a leading -1. */
export function canBatch(contract: Pick<ModelContract, 'inputs' | 'outputs'>): boolean {
  const fields = [...contract.inputs, ...contract.outputs];
  return contract.inputs.length > 0 && contract.outputs.length > 0 && fields.every(hasRows);
}

/** How many rows a call has; undefined where it must go alone. Its inputs fulfil the contract. */
export function rowsOf(
  contract: Pick<ModelContract, 'inputs' | 'outputs'>,
  inputs: ReadonlyMap<string, TensorOutline>,
): number | undefined {
  if (!canBatch(contract)) return undefined;
  const counts = contract.inputs.map(({ name }) => leadingOf(inputs.get(name)));
  const [rows] = counts;
  return rows !== undefined && counts.every((count) => count === rows) ? rows : undefined;
}

/**
 * The inputs of one call with the rows of all, in their order and in pieces, without model_spec. Undefined
 * where they cannot go together: one has no rows, or sizes of theirs that the contract leaves open differ.
 */
export function concatInputs(
  contract: Pick<ModelContract, 'inputs' | 'outputs'>,
  requests: readonly ReadonlyMap<string, TensorOutline>[],
): Buffer[] | undefined {
  if (requests.length === 0) return undefined;
  if (requests.some((inputs) => rowsOf(contract, inputs) === undefined)) return undefined;
  const tensors = new Map<string, Buffer>();
  for (const { name } of contract.inputs) {
    const parts = requests.flatMap((inputs) => inputs.get(name) ?? []);
    const dims = commonDims(parts);
    if (dims === undefined) return undefined;
    tensors.set(name, concatTensors(parts, dims));
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
    for (const [name, tensor] of outputs) {
      if (leadingOf(tensor) !== rows) {
        throw new AppError('MODEL_ERROR', 'An output has another number of rows than the inputs.');
      }
      splitTensor(tensor, rowCounts).forEach((part, index) => calls[index]?.set(name, part));
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

/** The sizes of all together; undefined where they differ after the first. */
function commonDims(tensors: readonly TensorOutline[]): number[] | undefined {
  const [first, ...others] = tensors.map((tensor) => dimsOf(tensor) ?? []);
  const [rows, ...inner] = first ?? [];
  if (rows === undefined) return undefined;
  let all = rows;
  for (const [more = 0, ...otherInner] of others) {
    if (otherInner.length !== inner.length || otherInner.some((size, at) => size !== inner[at])) {
      return undefined;
    }
    all += more;
  }
  return [all, ...inner];
}

function concatTensors(parts: readonly TensorOutline[], dims: readonly number[]): Buffer {
  const dtype = parts[0]?.dtype ?? 0;
  if (dtype === dataTypes.DT_STRING) return encodeStrings(dims, parts.flatMap(stringsOf));
  return Buffer.concat(encodeContent(dtype, dims, Buffer.concat(parts.map(contentOf))));
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
