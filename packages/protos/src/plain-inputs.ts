import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm, type ElementForm } from './element-forms.js';
import { nestedLists, RaggedLists, type NestedLists } from './nested-lists.js';
import { readDocument } from './plain-document.js';
import { encodeInputs, encodeTensors } from './predict-message.js';
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
  return Buffer.concat(encodeInputs(tensorsOfPlain(contract.inputs, inputs)));
}

/** The tensors of plain values by name. Bytes may stand where text may, and a bigint for a number. */
export function tensorsOfPlain(
  fields: readonly ModelField[],
  values: unknown,
): Map<string, Buffer> {
  const given = objectOf(values);
  if (given === undefined) {
    throw new AppError('VALIDATION_FAILED', 'The inputs must be an object with each by its name.');
  }
  const tally: Tally = { fields: 0, tensors: 0 };
  const tensors = new Map(
    fields.map((field) => {
      if (!Object.hasOwn(given, field.name)) throw wrong(field.name, 'is missing');
      return [field.name, encodeField(field, given[field.name], field.name, tally)];
    }),
  );
  if (Object.keys(given).length > fields.length) {
    throw new AppError('VALIDATION_FAILED', 'There is an input that the model does not have.');
  }
  return tensors;
}

/** What was written of a request: more than one may have is refused before it is made. */
interface Tally {
  fields: number;
  tensors: number;
}

function countField(tally: Tally): void {
  tally.fields += 1;
  if (tally.fields <= maxFields) return;
  throw new AppError('VALIDATION_FAILED', `The inputs have more than ${maxFields} texts and maps.`);
}

/** `name` is the input's, of a map's value "input.value". */
function encodeField(field: ModelField, value: unknown, name: string, tally: Tally): Buffer {
  tally.tensors += 1;
  if (tally.tensors > maxTensors) {
    throw new AppError(
      'VALIDATION_FAILED',
      `The inputs have more than ${maxTensors} values in maps.`,
    );
  }
  if (field.subfields !== undefined) return encodeMaps(field, field.subfields, value, name, tally);
  const { dtype = 'DT_INVALID' } = field;
  if (dtype === 'DT_STRING') return encodeTexts(field, value, name, tally);
  const form = dtype === 'DT_INVALID' ? undefined : elementForm(dtype);
  if (form === undefined || dtype === 'DT_INVALID') {
    throw wrong(name, `is of the type ${dtype}, of which no value can be given as JSON`);
  }
  return Buffer.concat(encodeNumbers(dataTypes[dtype], form, field, value, name));
}

function encodeNumbers(
  dtype: number,
  form: ElementForm,
  field: ModelField,
  value: unknown,
  name: string,
): Buffer[] {
  const isComplex = 'items' in form.schema;
  const isValue = (list: unknown) =>
    isComplex && Array.isArray(list) && list.length > 0 && !Array.isArray(list[0]);
  const lists = listsOf(field, value, name, isValue);
  const count = lists.dims.reduce((product, size) => product * size, 1);
  const content = Buffer.alloc(count * form.size);
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let at = 0;
  const place = lists.visit((item) => {
    const isWritten = form.write(view, at, item);
    at += form.size;
    return isWritten;
  });
  if (place !== undefined) throw wrong(name, `must be ${form.wanted}`, place);
  return encodeContent(dtype, lists.dims, content);
}

/** In one piece: a buffer for each of a million texts would be a hundred times what they are. */
function encodeTexts(field: ModelField, value: unknown, name: string, tally: Tally): Buffer {
  const lists = listsOf(field, value, name, () => false);
  const lengths: number[] = [];
  let bytes = 0;
  const place = lists.visit((item) => {
    countField(tally);
    const length = lengthOfPlain(item);
    if (length === undefined) return false;
    lengths.push(length);
    bytes += 1 + bytesOfLength(length) + length;
    return true;
  });
  if (place !== undefined) throw wrong(name, `must be ${textWanted}`, place);
  const head = encodeTypeAndShape(dataTypes.DT_STRING, lists.dims);
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
  tally: Tally,
): Buffer {
  const lists = listsOf(field, value, name, () => false);
  const pieces = [encodeTypeAndShape(dataTypes.DT_MAP, lists.dims)];
  const place = lists.visit((item) => {
    const given = objectOf(item);
    if (given === undefined) return false;
    countField(tally);
    const map = Buffer.concat(encodeTensors(1, encodeSubfields(subfields, given, name, tally)));
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
  tally: Tally,
): Map<string, Buffer> {
  const tensors = new Map(
    subfields.map((field) => {
      const name = `${within}.${field.name}`;
      if (!Object.hasOwn(given, field.name)) throw wrong(name, 'is missing');
      return [field.name, encodeField(field, given[field.name], name, tally)];
    }),
  );
  if (Object.keys(given).length > subfields.length) {
    throw wrong(within, 'has a value that the model does not know');
  }
  return tensors;
}

function listsOf(
  field: ModelField,
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
function objectOf(value: unknown): Record<string, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) || value instanceof Uint8Array) return undefined;
  return value as Record<string, unknown>;
}

function wrong(name: string, what: string, place: readonly number[] = []): AppError {
  const where = place.map((index) => `[${index}]`).join('');
  return new AppError('VALIDATION_FAILED', `The input "${name}"${where} ${what}.`, {
    extensions: { parameter: name },
  });
}
