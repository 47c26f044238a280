import { dataTypes, type ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { MetadataEntry } from './invocation-message.js';
import { hasOutsideTexts } from './document-scan.js';
import { readDocument } from './plain-document.js';
import { objectOf } from './plain-inputs.js';
import { answered, jsonFromPredictResponse } from './plain-outputs.js';
import { outlinePredictResponse } from './predict-message.js';
import { jsonOfValues } from './telling.js';
import { stringsOf } from './tensor-content.js';
import { noObject, valuesOfJson } from './value-tree.js';

/**
 * The inputs by name, as plain values, of content that is bytes to the door it came through. They go as they
 * are (as a slice) to a model whose one input takes a text; else they are a JSON object with each input by
 * its name, as they are where there is no contract. `metadata` is for an input of that name that stands beside
 * others: of maps it is a list of {key, value}, of text that list in JSON; what the content says itself
 * counts more. Throws MALFORMED_REQUEST of what is no JSON, VALIDATION_FAILED of what is no object, and
 * PAYLOAD_TOO_LARGE of JSON that has more than `maxJsonBytes` outside its texts: nothing else is done while it is
 * read.
 */
export function inputsOfContent(
  contract: Pick<ModelContract, 'inputs'> | undefined,
  content: Buffer,
  maxJsonBytes: number,
  metadata?: readonly MetadataEntry[],
): Record<string, unknown> {
  const fields = contract?.inputs ?? [];
  const ofMetadata = metadata && metadataField(fields);
  const offered = ofMetadata && { metadata: metadataFor(ofMetadata, metadata) };
  const field = wholeField(fields, ofMetadata);
  if (field !== undefined) return { ...offered, [field.name]: inLists(content, field.shape) };
  if (content.byteLength > maxJsonBytes && hasOutsideTexts(content, maxJsonBytes)) {
    const text = `Content that is read as JSON may have ${maxJsonBytes} bytes beside its texts (MAX_JSON_BYTES).`;
    throw new AppError('PAYLOAD_TOO_LARGE', text);
  }
  if (contract === undefined) return valuesOfJson(content, 'The content');
  const given = objectOf(readDocument(fields, content, 'The content'));
  if (given === undefined) throw noObject('The content');
  return { ...offered, ...given };
}

/** Whether content goes to the model as it is, and nobody has to read it; there may be metadata beside it. */
export function takesContentAsIs(
  { inputs }: Pick<ModelContract, 'inputs'>,
  hasMetadata = false,
): boolean {
  return wholeField(inputs, hasMetadata ? metadataField(inputs) : undefined) !== undefined;
}

/**
 * A PredictResponse as content: the bytes of the one text that a model with one output answered, as a slice,
 * else the outputs as a JSON object. Throws MODEL_ERROR of an answer that is none.
 */
export function contentOfOutputs(
  contract: Pick<ModelContract, 'outputs'>,
  message: Buffer,
): Buffer {
  return (
    answered(() => oneText(contract.outputs, message)) ??
    Buffer.from(jsonFromPredictResponse(contract, message))
  );
}

/** Likewise of outputs that are plain values, as those of a batch model are. */
export function contentOfValues(outputs: Readonly<Record<string, unknown>>): Buffer {
  const [output, ...others] = Object.values(outputs);
  const value = others.length === 0 ? outOfLists(output) : undefined;
  if (typeof value === 'string') return Buffer.from(value);
  if (!(value instanceof Uint8Array)) return Buffer.from(jsonOfValues(outputs));
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** Outputs that are plain values as metadata, an entry for each: a text as it is, all else as JSON. */
export function metadataOfValues(outputs: Readonly<Record<string, unknown>>): MetadataEntry[] {
  return Object.entries(outputs).map(([key, value]) => ({
    key,
    value: typeof value === 'string' ? value : jsonOfValues(value),
  }));
}

/** The one input that is left for content, where it takes a text. */
function wholeField(
  fields: readonly ModelField[],
  ofMetadata: ModelField | undefined,
): ModelField | undefined {
  const [field, ...others] = fields.filter((one) => one !== ofMetadata);
  return field !== undefined && others.length === 0 && takesOneText(field) ? field : undefined;
}

/** The input that metadata are for. */
function metadataField(fields: readonly ModelField[]): ModelField | undefined {
  const field = fields.find(({ name }) => name === 'metadata');
  if (field === undefined || fields.length === 1) return undefined;
  return field.subfields !== undefined || takesOneText(field) ? field : undefined;
}

function metadataFor(field: ModelField, metadata: readonly MetadataEntry[]): unknown {
  if (field.subfields !== undefined) return metadata;
  return inLists(JSON.stringify(metadata), field.shape);
}

/** A size that the contract leaves open may be 1. */
function takesOneText({ dtype, shape = [] }: ModelField): boolean {
  return dtype === 'DT_STRING' && shape.every((size) => size === 1 || size === -1);
}

function inLists(value: unknown, shape: readonly number[] = []): unknown {
  return shape.reduce<unknown>((inner) => [inner], value);
}

function outOfLists(value: unknown): unknown {
  let at = value;
  while (Array.isArray(at) && at.length === 1) at = at[0] as unknown;
  return at;
}

function oneText(fields: readonly ModelField[], message: Buffer): Buffer | undefined {
  const [field, ...others] = fields;
  if (field?.dtype !== 'DT_STRING' || others.length > 0) return undefined;
  const { outputs } = outlinePredictResponse(message);
  const tensor = outputs.get(field.name);
  if (tensor?.dtype !== dataTypes.DT_STRING || outputs.size > 1) return undefined;
  const strings = stringsOf(tensor);
  return strings.length === 1 ? strings[0] : undefined;
}
