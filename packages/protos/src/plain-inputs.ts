import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm, type ElementForm } from './element-forms.js';
import { nestedLists, RaggedLists, type NestedLists } from './nested-lists.js';
import { readDocument } from './plain-document.js';
import { encodeInputs, encodeTensors } from './predict-message.js';
import { asValues, inJson, type Telling } from './telling.js';
import { encodeContent, encodeTypeAndShape, stringTag } from './tensor-content.js';
import { maxTensors } from './tensor-outline.js';
import { lengthOfPlain, textWanted, writePlain } from './text-form.js';
import { bytesOfLength, lengthTag, maxFields, writeLength } from './wire.js';

/**
 * The inputs of a PredictRequest, without model_spec, of a JSON document: an object with a value for each
 * input, as {@link jsonSchemaOf} says. Throws MALFORMED_REQUEST of what is no JSON, and VALIDATION_FAILED
 * with the input's name as parameter.
 */
export function predictRequestFromJson(
  contract: Pick<ModelContract, 'inputs'>,
  document: string | Buffer,
): Buffer {
  const inputs = readDocument(contract.inputs, document);
  return Buffer.concat(encodeInputs(tensorsOfPlain(contract.inputs, inputs, inJson)));
}

/**
 * The tensors of plain values by name. Bytes may stand where text may, and a bigint for a number. Throws
 * VALIDATION_FAILED with the input's name as parameter.
 */
export function tensorsOfPlain(
  fields: readonly ModelField[],
  values: unknown,
  telling: Telling = asValues,
): Map<string, Buffer> {
  const given = objectOf(values);
  if (given === undefined) {
    throw new AppError('VALIDATION_FAILED', 'The inputs must be an object with each by its name.');
  }
  const writing = beginWriting(telling);
  const tensors = new Map(
    fields.map((field) => {
      if (!Object.hasOwn(given, field.name)) throw wrong(field.name, 'is missing');
      return [field.name, encodeField(field, given[field.name], field.name, writing)];
    }),
  );
  if (Object.keys(given).length > fields.length) {
    throw new AppError('VALIDATION_FAILED', 'There is an input that the model does not have.');
  }
  return tensors;
}

/** How values are told, and what was written: more than one request may have is refused before it is made. */
export interface Writing {
  readonly telling: Telling;
  fields: number;
  tensors: number;
}

export function beginWriting(telling: Telling): Writing {
  return { telling, fields: 0, tensors: 0 };
}

function countField(writing: Writing): void {
  writing.fields += 1;
  if (writing.fields <= maxFields) return;
  throw new AppError('VALIDATION_FAILED', `The inputs have more than ${maxFields} texts and maps.`);
}

function countTensor(writing: Writing): void {
  writing.tensors += 1;
  if (writing.tensors <= maxTensors) return;
  throw new AppError(
    'VALIDATION_FAILED',
    `The inputs have more than ${maxTensors} values in maps.`,
  );
}

/** `name` is the input's, of a map's value "input.value". */
function encodeField(field: ModelField, value: unknown, name: string, writing: Writing): Buffer {
  countTensor(writing);
  if (field.subfields !== undefined)
    return encodeMaps(field, field.subfields, value, name, writing);
  const { dtype = 'DT_INVALID' } = field;
  if (dtype === 'DT_STRING') {
    const lists = listsOf(field, value, name, () => false);
    return encodeTexts(lists.dims, lists, name, writing);
  }
  const form = dtype === 'DT_INVALID' ? undefined : elementForm(dtype);
  if (form === undefined || dtype === 'DT_INVALID') {
    throw wrong(name, `is of the type ${dtype}, of which no value can be given as JSON`);
  }
  const isComplex = 'items' in form.schema;
  const isValue = (list: unknown) =>
    isComplex && Array.isArray(list) && list.length > 0 && !Array.isArray(list[0]);
  const lists = listsOf(field, value, name, isValue);
  const content = contentOfLists(form, lists, name, writing.telling);
  return Buffer.concat(encodeContent(dataTypes[dtype], lists.dims, content));
}

/** Of numbers, what stands in `tensor_content`. */
export function contentOfLists(
  form: ElementForm,
  lists: NestedLists,
  name: string,
  telling: Telling,
): Buffer {
  const count = lists.dims.reduce((product, size) => product * size, 1);
  const content = Buffer.alloc(count * form.size);
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let at = 0;
  const place = lists.visit((item) => {
    const isWritten = form.write(view, at, item, telling);
    at += form.size;
    return isWritten;
  });
  if (place !== undefined) throw wrong(name, `must be ${form.wanted}`, place);
  return content;
}

/**
 * A tensor of these dims with texts. It is written in one piece: a buffer for each of a million texts would be a
 * hundred times what they are.
 */
export function encodeTexts(
  dims: readonly number[],
  lists: NestedLists,
  name: string,
  writing: Writing,
): Buffer {
  const lengths: number[] = [];
  let bytes = 0;
  const place = lists.visit((item) => {
    countField(writing);
    const length = lengthOfPlain(item);
    if (length === undefined) return false;
    lengths.push(length);
    bytes += 1 + bytesOfLength(length) + length;
    return true;
  });
  if (place !== undefined) throw wrong(name, `must be ${textWanted}`, place);
  const head = encodeTypeAndShape(dataTypes.DT_STRING, dims);
  const tensor = Buffer.allocUnsafe(head.length + bytes);
  let at = head.copy(tensor);
  let index = 0;
  lists.visit((item) => {
    const length = lengths[index] ?? 0;
    at = writeLength(tensor, tensor.writeUInt8(stringTag, at), length);
    writePlain(item, tensor, at);
    at += length;
    index += 1;
    return true;
  });
  return tensor;
}

function encodeMaps(
  field: ModelField,
  subfields: readonly ModelField[],
  value: unknown,
  name: string,
  writing: Writing,
): Buffer {
  const lists = listsOf(field, value, name, () => false);
  const pieces = [encodeTypeAndShape(dataTypes.DT_MAP, lists.dims)];
  const place = lists.visit((item) => {
    const given = objectOf(item);
    if (given === undefined) return false;
    countField(writing);
    const map = Buffer.concat(encodeTensors(1, encodeSubfields(subfields, given, name, writing)));
    pieces.push(lengthTag(27, map.byteLength), map);
    return true;
  });
  if (place !== undefined) throw wrong(name, 'must be an object', place);
  return Buffer.concat(pieces);
}

function encodeSubfields(
  subfields: readonly ModelField[],
  given: Record<string, unknown>,
  within: string,
  writing: Writing,
): Map<string, Buffer> {
  const tensors = new Map(
    subfields.map((field) => {
      const name = `${within}.${field.name}`;
      if (!Object.hasOwn(given, field.name)) throw wrong(name, 'is missing');
      return [field.name, encodeField(field, given[field.name], name, writing)];
    }),
  );
  if (Object.keys(given).length > subfields.length) {
    throw wrong(within, 'has a value that the model does not know');
  }
  return tensors;
}

export function listsOf(
  field: Pick<ModelField, 'shape'>,
  value: unknown,
  name: string,
  isValue: (value: unknown) => boolean,
): NestedLists {
  try {
    return nestedLists(value, field.shape, isValue);
  } catch (error) {
    if (error instanceof RaggedLists) throw wrong(name, error.what, error.place);
    throw error;
  }
}

/** Of JSON, or of a map: no list, no text, no bytes. */
export function objectOf(value: unknown): Record<string, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) || value instanceof Uint8Array) return undefined;
  return value as Record<string, unknown>;
}

/** `what` is wrong with an input, whose name is the contract's. */
export function wrong(name: string, what: string, place: readonly number[] = []): AppError {
  const where = place.map((index) => `[${index}]`).join('');
  return new AppError('VALIDATION_FAILED', `The input "${name}"${where} ${what}.`, {
    extensions: { parameter: name },
  });
}
