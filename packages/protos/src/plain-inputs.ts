import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm, type ElementForm } from './element-forms.js';
import { nestedLists, RaggedLists, type NestedLists } from './nested-lists.js';
import { readDocument } from './plain-document.js';
import { encodeInputs, encodeTensors } from './predict-message.js';
import { encodeContent, encodeStrings, encodeTypeAndShape } from './tensor-content.js';
import { asValues, inJson, type Telling } from './telling.js';
import { bytesOfPlain, textWanted } from './text-form.js';
import { lengthTag } from './wire.js';

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
  const tensors = new Map(
    fields.map((field) => {
      if (!Object.hasOwn(given, field.name)) throw wrong(field.name, 'is missing');
      return [field.name, encodeField(field, given[field.name], field.name, telling)];
    }),
  );
  if (Object.keys(given).length > fields.length) {
    throw new AppError('VALIDATION_FAILED', 'There is an input that the model does not have.');
  }
  return tensors;
}

/** `name` is the input's, of a map's value "input.value". */
function encodeField(field: ModelField, value: unknown, name: string, telling: Telling): Buffer {
  if (field.subfields !== undefined)
    return encodeMaps(field, field.subfields, value, name, telling);
  const { dtype = 'DT_INVALID' } = field;
  if (dtype === 'DT_STRING') return encodeTexts(field, value, name);
  const form = dtype === 'DT_INVALID' ? undefined : elementForm(dtype);
  if (form === undefined || dtype === 'DT_INVALID') {
    throw wrong(name, `is of the type ${dtype}, of which no value can be given as JSON`);
  }
  const isComplex = 'items' in form.schema;
  const isValue = (list: unknown) =>
    isComplex && Array.isArray(list) && list.length > 0 && !Array.isArray(list[0]);
  const lists = listsOf(field, value, name, isValue);
  const content = contentOfLists(form, lists, name, telling);
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

function encodeTexts(field: ModelField, value: unknown, name: string): Buffer {
  const lists = listsOf(field, value, name, () => false);
  return encodeStrings(lists.dims, stringsOfLists(lists, name));
}

export function stringsOfLists(lists: NestedLists, name: string): Buffer[] {
  const strings: Buffer[] = [];
  const place = lists.visit((item) => {
    const bytes = bytesOfPlain(item);
    if (bytes !== undefined) strings.push(bytes);
    return bytes !== undefined;
  });
  if (place !== undefined) throw wrong(name, `must be ${textWanted}`, place);
  return strings;
}

function encodeMaps(
  field: ModelField,
  subfields: readonly ModelField[],
  value: unknown,
  name: string,
  telling: Telling,
): Buffer {
  const lists = listsOf(field, value, name, () => false);
  const pieces = [encodeTypeAndShape(dataTypes.DT_MAP, lists.dims)];
  const place = lists.visit((item) => {
    const given = objectOf(item);
    if (given === undefined) return false;
    const map = Buffer.concat(encodeTensors(1, encodeSubfields(subfields, given, name, telling)));
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
  telling: Telling,
): Map<string, Buffer> {
  const tensors = new Map(
    subfields.map((field) => {
      const name = `${within}.${field.name}`;
      if (!Object.hasOwn(given, field.name)) throw wrong(name, 'is missing');
      return [field.name, encodeField(field, given[field.name], name, telling)];
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
