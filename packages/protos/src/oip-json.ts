import Type, { type Static, type TSchema } from 'typebox';
import Value from 'typebox/value';
import type { ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { elementForm } from './element-forms.js';
import { rawOf } from './oip-message.js';
import { valuesIn, type InferOutput } from './oip-outputs.js';
import { checkParameters, type InferInput, type InferRequest } from './oip-request.js';
import { readDocument } from './plain-document.js';
import { answered, maxJsonValues, valuesOfContent } from './plain-outputs.js';
import { inJson, type Telling } from './telling.js';
import { maxDims } from './tensor-outline.js';
import { plainText } from './text-form.js';

/** Some write null for what they do not say. */
const maybe = <Schema extends TSchema>(schema: Schema) =>
  Type.Optional(Type.Union([schema, Type.Null()]));
const Parameters = maybe(Type.Record(Type.String(), Type.Unknown()));
const DocumentInput = Type.Object({
  name: Type.String(),
  shape: Type.Array(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), {
    maxItems: maxDims,
  }),
  datatype: Type.String(),
  parameters: Parameters,
  data: Type.Optional(Type.Unknown()),
});
const Document = Type.Object({
  id: maybe(Type.String()),
  parameters: Parameters,
  inputs: Type.Array(DocumentInput, { maxItems: 1_000 }),
  outputs: maybe(
    Type.Array(Type.Object({ name: Type.String(), parameters: Parameters }), { maxItems: 1_000 }),
  ),
});

/**
 * An inference request of HTTP: a JSON document of `jsonLength` bytes (Inference-Header-Content-Length), and
 * behind it the bytes of inputs that have a binary_data_size. Throws MALFORMED_REQUEST of what is no JSON or
 * has other bytes behind it, and VALIDATION_FAILED of any other document.
 */
export function inferRequestFromJson(
  contract: Pick<ModelContract, 'inputs'>,
  body: Buffer,
  jsonLength = body.byteLength,
): InferRequest {
  if (!Number.isInteger(jsonLength) || jsonLength < 0 || jsonLength > body.byteLength) {
    throw new AppError('MALFORMED_REQUEST', 'The body is shorter than its JSON is said to be.');
  }
  const document = checked(readDocument(contract.inputs, body.subarray(0, jsonLength)));
  const isBinary = document.parameters?.['binary_data_output'] === true;
  checkParameters(Object.keys(document.parameters ?? {}));
  return {
    modelName: '',
    modelVersion: '',
    id: document.id ?? '',
    inputs: inputsOf(document.inputs, body.subarray(jsonLength)),
    outputs: (document.outputs ?? []).map(({ name, parameters }) => {
      checkParameters(Object.keys(parameters ?? {}));
      const asked = parameters?.['binary_data'];
      return { name, isBinary: typeof asked === 'boolean' ? asked : isBinary };
    }),
    isBinary,
  };
}

/**
 * An inference response of HTTP, in pieces; `jsonLength` where bytes stand behind the JSON. Throws
 * VALIDATION_FAILED of texts that are no UTF-8, and of more values than JSON is made of, that are not wanted as bytes.
 */
export function inferResponseAsJson(
  head: { modelName: string; modelVersion: string; id: string },
  outputs: readonly InferOutput[],
): { pieces: Buffer[]; jsonLength: number | undefined } {
  const binary: Buffer[] = [];
  const inJsonAll = outputs.filter(({ isBinary }) => !isBinary);
  if (inJsonAll.reduce((sum, output) => sum + valuesIn(output), 0) > maxJsonValues) {
    const text = `The outputs have more than ${maxJsonValues} values: ask for them with binary_data.`;
    throw new AppError('VALIDATION_FAILED', text);
  }
  const told = outputs.map((output) => {
    const { name, datatype, shape } = output;
    const start = JSON.stringify({ name, datatype, shape }).slice(0, -1);
    if (!output.isBinary) return `${start},"data":${dataOf(output)}}`;
    const raw = rawOf(output.values);
    binary.push(raw);
    return `${start},"parameters":{"binary_data_size":${raw.byteLength}}}`;
  });
  const start = JSON.stringify({
    model_name: head.modelName,
    model_version: head.modelVersion,
    ...(head.id !== '' && { id: head.id }),
  }).slice(0, -1);
  const json = answered(() => Buffer.from(`${start},"outputs":[${told.join(',')}]}`));
  return {
    pieces: [json, ...binary],
    jsonLength: binary.length === 0 ? undefined : json.byteLength,
  };
}

function checked(document: unknown): Static<typeof Document> {
  const [error] = Value.Errors(Document, document);
  if (error === undefined) return document as Static<typeof Document>;
  // Names of the schema and indices: what the caller named himself may be anything.
  const place = error.instancePath.slice(1).replaceAll('/', '.');
  const where = place === '' ? '' : `${place}: `;
  throw new AppError('VALIDATION_FAILED', `The request is invalid: ${where}${error.message}`);
}

function inputsOf(inputs: Static<typeof DocumentInput>[], binary: Buffer): InferInput[] {
  let at = 0;
  const read = inputs.map(({ name, datatype, shape, parameters, data }): InferInput => {
    checkParameters(Object.keys(parameters ?? {}));
    const size = parameters?.['binary_data_size'];
    if (size === undefined) return { name, datatype, shape, values: { data } };
    if (data !== undefined && data !== null) {
      const text = 'There is an input with data beside the bytes that binary_data_size tells of.';
      throw new AppError('VALIDATION_FAILED', text);
    }
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 0) throw wrongSize();
    return { name, datatype, shape, values: { raw: binary.subarray(at, (at += size)) } };
  });
  if (at !== binary.byteLength) throw wrongSize();
  return read;
}

function wrongSize(): AppError {
  const text = 'The bytes behind the JSON are not as many as binary_data_size says.';
  return new AppError('MALFORMED_REQUEST', text);
}

/** Whole numbers of 64 bits are numbers there, however large. */
const telling: Telling = { ...inJson, long: (value) => value };

function dataOf(output: InferOutput): string {
  const { dtype, values } = output;
  if (Array.isArray(values)) {
    const texts = values.map((bytes) =>
      plainText(bytes, { ...inJson, bytes: () => noText(output) }),
    );
    return answered(() => JSON.stringify(texts));
  }
  const form = elementForm(dtype);
  if (form === undefined) throw new Error(`${dtype} has no fixed size`);
  return answered(() => {
    const numbers = valuesOfContent(form, values, telling);
    const isLong = dtype === 'DT_INT64' || dtype === 'DT_UINT64';
    return isLong ? `[${numbers.join(',')}]` : JSON.stringify(numbers);
  });
}

function noText({ name }: InferOutput): never {
  const text = `The output "${name}" has bytes that are no text: ask for it with binary_data.`;
  throw new AppError('VALIDATION_FAILED', text, { extensions: { parameter: name } });
}
