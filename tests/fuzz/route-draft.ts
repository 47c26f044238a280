import fc from 'fast-check';
import {
  allRoutes,
  frameInvocation,
  headedType,
  oipLengthHeader,
  type InvocationHead,
  type RouteContract,
} from '@inference-server/contracts';
import { often } from './often.js';
import { anyJson, fitting, jsonOf, type Schema } from './schema-values.js';

/** One request of a route. In its texts `{name}` stands for what the scene has under that name. */
export interface RouteCase {
  app: 'public-api' | 'private-api';
  contract: RouteContract;
  method: string;
  /** As it stands in the request line. */
  target: string;
  headers: [name: string, value: string][];
  token: Token;
  /** Text goes out as latin1. */
  body: string | undefined;
  isChunked: boolean;
  /** Places that hold something else than a usual value: `query wait`, `body lease.epoch`, … */
  places: string[];
  /** It may be the request of another route, or of none. */
  isElsewhere: boolean;
}

export type Token =
  'right' | 'operator' | 'public-api' | 'rpc-gateway' | 'consumer' | 'forged' | 'cut' | 'none';

/** A request in the making. */
export interface Draft {
  params: Map<string, string>;
  query: [name: string, value: string][];
  body: unknown;
  bodyType: string;
  headers: [string, string][];
  method: string;
  token: Token;
  suffix: string;
  /** Pieces of the query that are not encoded any more. */
  rawQuery: string[];
  isChunked: boolean;
  places: string[];
  isElsewhere: boolean;
}

/** What a parameter of this name holds as a rule. */
const usual: Record<string, fc.Arbitrary<string>> = {
  uid: fc.constantFrom('{finished}', '{finished}', '{failed}', '{pending}', '{gone}', '{unknown}'),
  task_uid: fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom('{finished}', '{failed}', '{pending}', '{unknown}') },
    fc.constant('{running}'),
  ),
  attempt: fc.constant('1'),
  epoch: fc.constant('1'),
  holder: fc.constant('{holder}'),
  consumer_id: fc.constant('{consumer}'),
  human_readable_id: fc.constant('{model}'),
  model_human_readable_id: fc.constant('{model}'),
  container_tag: fc.constant('busybox:1'),
  retention_s: fc.constant('3600'),
  input_retention_s: fc.constant('0'),
  log_retention_s: fc.constant('3600'),
  version: fc.constantFrom('1', '1', '2'),
  wait: fc.oneof({ weight: 20, arbitrary: fc.constantFrom('0', '0.01') }, fc.constant('60')),
};

const askedModel = fc.constantFrom('{runtimeModel}', '{runtimeModel}', '{model}');

/** Names under which much is done at once have more of it done to them than is good for the scene. */
const usualOf: Record<string, Record<string, fc.Arbitrary<string>>> = {
  putModel: { human_readable_id: fc.constant('put-model') },
  deleteModel: { human_readable_id: fc.constant('put-model') },
  ...Object.fromEntries(
    allRoutes
      .filter(({ servedBy }) => servedBy === 'rpc-gateway')
      .map(({ operationId }) => [operationId, { human_readable_id: askedModel }]),
  ),
  deleteTask: { uid: fc.constantFrom('{disposable}', '{disposable}', '{gone}', '{unknown}') },
};

const inferDocument = fc.record({
  inputs: fc.tuple(
    fc.record({
      name: fc.constant('numbers'),
      datatype: fc.constantFrom('INT64', 'INT64', 'INT32'),
      shape: fc.constantFrom([2], [2], [1, 2], [2 ** 53]),
      data: fc.oneof(fc.constant([1, 2]), anyJson),
    }),
    fc.record({
      name: fc.constant('text'),
      datatype: fc.constant('BYTES'),
      shape: fc.constantFrom([1], []),
      data: fc.oneof(fc.tuple(fc.string()), anyJson),
    }),
  ),
});

/** The same with bytes behind the JSON: as many as are told of, and not. */
const inferWithBytes = fc
  .tuple(
    fc.constantFrom(16, 16, 16, 0, 15, -1, 2 ** 53),
    fc.constantFrom('\u0001\0\0\0a', '\u0001\0\0\0\xff', '\0', '\xff\xff\xff\xffa'),
    fc.constantFrom(0, 0, 0, 0, 1, -1),
  )
  .map(([numbers, text, off]): MadeBody => {
    const sized = (name: string, datatype: string, size: number) => ({
      ...{ name, datatype, shape: [datatype === 'INT64' ? 2 : 1] },
      parameters: { binary_data_size: size },
    });
    const inputs = [sized('numbers', 'INT64', numbers), sized('text', 'BYTES', text.length)];
    const json = jsonOf({ inputs, parameters: { binary_data_output: true } });
    return {
      content: `${json}${'\0'.repeat(16)}${text}`,
      type: 'application/octet-stream',
      headers: [[oipLengthHeader, String(json.length + off)]],
    };
  });

/** Bodies of which the schema says less than what it asks is. */
const usualBodies: Record<string, fc.Arbitrary<unknown>> = {
  predict: fc.record({
    numbers: fc.oneof(fc.array(fc.integer(), { maxLength: 4 }), anyJson),
    text: fc.oneof(fc.string(), anyJson),
  }),
  oipModelInfer: inferDocument,
  oipModelVersionInfer: inferDocument,
};

/** A request as it should be. */
export function draftOf(app: RouteCase['app'], contract: RouteContract): fc.Arbitrary<Draft> {
  const query = schemaOf(contract.query);
  const required = query.required ?? [];
  const optional = Object.keys(query.properties ?? {}).filter((name) => !required.includes(name));
  const value = (name: string, schema: Schema) =>
    usualOf[contract.operationId]?.[name] ?? usual[name] ?? fitting(schema).map(String);
  const valuesOf = (schema: Schema, names: string[]) =>
    fc.tuple(
      ...names.map((name) =>
        value(name, schema.properties?.[name] ?? {}).map((text): [string, string] => [name, text]),
      ),
    );
  const params = schemaOf(contract.params);
  return fc
    .record({
      params: valuesOf(params, Object.keys(params.properties ?? {})),
      query: valuesOf(query, required),
      more: fc
        .subarray(optional)
        .chain((names) => fc.tuple(valuesOf(query, names), fc.constantFrom(0, 0, 1))),
      body: bodyOf(contract),
      isChunked: fc.constantFrom(false, false, false, true),
      method: fc.constantFrom(contract.method, contract.method, contract.method, 'HEAD'),
    })
    .map(({ params: inPath, more: [extra, takesExtra], body, ...draft }) => ({
      ...draft,
      params: new Map(inPath),
      // A task that is not named is posted to none.
      query: [...draft.query, ...(takesExtra === 1 || required.length === 0 ? extra : [])],
      method: contract.method === 'GET' ? draft.method : contract.method,
      body: body.content,
      bodyType: body.type,
      headers: body.headers ?? [],
      token: app === 'public-api' ? 'none' : 'right',
      suffix: '',
      rawQuery: [],
      places: [],
      isElsewhere: false,
    }));
}

export function schemaOf(schema: unknown): Schema {
  return schema ?? {};
}

const zips = fc.oneof(
  often(3, fc.constantFrom('{zip}', '{emptyZip}', '{cutZip}', 'PK\u0005\u0006', 'no zip')),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
);
export const formOf = (zip: string) =>
  `--b\r\nContent-Disposition: form-data; name="zip_file"; filename="a.zip"\r\n\r\n${zip}\r\n--b--\r\n`;

interface MadeBody {
  content: unknown;
  type: string;
  headers?: [string, string][];
}

function bodyOf({ body, operationId }: RouteContract): fc.Arbitrary<MadeBody> {
  if (body === undefined) return fc.constant({ content: undefined, type: '' });
  if (body.kind === 'json') {
    const usually = usualBodies[operationId] ?? usualBody(body.schema);
    const made = usually.map((content): MadeBody => ({ content, type: 'application/json' }));
    return body.hasBytes === true ? fc.oneof(made, inferWithBytes) : made;
  }
  if (body.kind === 'headed') {
    return fc
      .tuple(usualBody(body.head as Schema), fc.oneof(fc.string(), zips))
      .map(([head, content]) => ({
        content: Buffer.from(frameInvocation(head as InvocationHead)).toString('latin1') + content,
        type: headedType,
      }));
  }
  const upload = zips.map((zip) => ({ content: zip, type: 'application/zip' }));
  const form = zips.map((zip) => ({
    content: formOf(zip),
    type: 'multipart/form-data; boundary=b',
  }));
  const nothing = fc.constant({ content: undefined, type: '' });
  return fc.oneof(upload, form, often(body.optional ? 4 : 1, nothing));
}

/** An object with the usual values where there are some. */
function usualBody(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(usualBody));
  if (schema.properties === undefined) return fitting(schema);
  const values = Object.entries(schema.properties).map(([name, property]) => {
    const known = usual[name]?.map((text) => (property.type === 'string' ? text : Number(text)));
    return [name, known ?? usualBody(property)] as const;
  });
  return fc.record(Object.fromEntries(values));
}

/** What stands for itself, and the names of the scene, are left as they are. */
export function encode(text: string): string {
  if (/^[\w.{}%+-]*$/.test(text)) return text;
  return encodeURIComponent(text.replaceAll(/\p{Surrogate}/gu, '\ufffd'));
}

export function utf8(text: string): string {
  return Buffer.from(text).toString('latin1');
}
