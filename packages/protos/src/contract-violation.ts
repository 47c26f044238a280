import { dataTypes, type ModelField } from '@inference-server/contracts';
import { dataTypeName } from './data-types.js';
import type { TensorOutline, TensorShape } from './tensor-outline.js';

/** What is wrong with inputs, for whoever sent them: names of the contract only stand in it. */
export interface ContractViolation {
  /** The input's name, of a map's value "input.value"; '' of one that the model does not have. */
  field: string;
  detail: string;
}

/**
 * The first thing in which tensors are not what the contract says, by what their outlines tell. A tensor
 * that says nothing of its shape is not checked for it.
 */
export function contractViolation(
  inputs: readonly ModelField[],
  tensors: ReadonlyMap<string, TensorOutline>,
): ContractViolation | undefined {
  return violation(inputs, tensors, '');
}

function violation(
  fields: readonly ModelField[],
  tensors: ReadonlyMap<string, TensorOutline>,
  within: string,
): ContractViolation | undefined {
  for (const field of fields) {
    const name = `${within}${field.name}`;
    const tensor = tensors.get(field.name);
    if (tensor === undefined) return { field: name, detail: `The input "${name}" is missing.` };
    const found = fieldViolation(field, tensor, name);
    if (found !== undefined) return found;
  }
  if (tensors.size <= fields.length) return undefined;
  const of = within === '' ? 'the model does' : `the input "${within.slice(0, -1)}" does`;
  return { field: within.slice(0, -1), detail: `There is an input that ${of} not have.` };
}

function fieldViolation(
  field: ModelField,
  tensor: TensorOutline,
  name: string,
): ContractViolation | undefined {
  const wrong = (what: string) => ({ field: name, detail: `The input "${name}" ${what}.` });
  const dtype = field.dtype ?? 'DT_MAP';
  if (tensor.dtype !== dataTypes[dtype]) {
    const has = dataTypeName(tensor.dtype) ?? 'no known data type';
    return wrong(`must be ${dtype}, and is ${has}`);
  }
  const { shape, elements } = tensor;
  if (elements !== undefined && !Number.isInteger(elements)) {
    return wrong(`has a number of bytes that is no multiple of a ${dtype}`);
  }
  if (shape !== undefined && !shape.unknownRank) {
    if (!fitsShape(field.shape, shape)) {
      return wrong(
        field.shape === undefined
          ? 'has a size below 0 in its shape'
          : `must have the shape [${field.shape.join(', ')}]`,
      );
    }
    if (!fillsShape(tensor, shape))
      return wrong('has a number of values that is not that of its shape');
  }
  if (field.subfields === undefined) return undefined;
  for (const map of tensor.subtensors ?? []) {
    const found = violation(field.subfields, map, `${name}.`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A size below 0 is one that only a contract can have. */
function fitsShape(wanted: readonly number[] | undefined, { dims }: TensorShape): boolean {
  if (dims.some((size) => size < 0n)) return false;
  if (wanted === undefined) return true;
  if (wanted.length !== dims.length) return false;
  return wanted.every((size, index) => size === -1 || BigInt(size) === dims[index]);
}

/**
 * Of typed values that are fewer the last one stands in every place that is left, as TensorFlow has it; where
 * there is none they are zeros, and empty texts.
 */
function fillsShape(
  { dtype, elements, hasContent }: TensorOutline,
  { dims }: TensorShape,
): boolean {
  if (elements === undefined) return true;
  const wanted = dims.reduce((product, size) => product * size, 1n);
  const there = BigInt(elements);
  if (there === wanted) return true;
  // Of maps nobody knows what one would be of which nothing is said.
  const isKnown = there > 0n || dtype !== dataTypes.DT_MAP;
  return isKnown && !hasContent && there < wanted;
}
