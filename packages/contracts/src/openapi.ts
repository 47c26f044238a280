import type { TObject, TSchema } from 'typebox';
import { errorCodes, type ErrorCode } from './codes.js';
import { isOipAddress, oipStatusOf } from './oip-errors.js';
import type { RouteContract, SuccessResponse, ZipUpload } from './route.js';
import { headedType } from './schemas/invocation.js';
import { Model } from './schemas/model.js';
import { OipError } from './schemas/oip.js';
import { Problem, TaskReport } from './schemas/problem.js';
import { Quota } from './schemas/quota.js';
import { Readiness } from './schemas/health.js';

type Json = Record<string, unknown>;

const shared: readonly TSchema[] = [Model, OipError, Problem, Quota, Readiness, TaskReport];

/**
 * The OpenAPI 3.1 document of the given routes. Pure: the same routes give the same document. `isLimited`:
 * any of them may answer that too much is asked.
 */
export function openApiDocument(
  routes: readonly RouteContract[],
  info: { title: string; description: string; version: string },
  { isLimited = false } = {},
): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, isLimited) };
  }
  return {
    openapi: '3.1.0',
    info,
    paths,
    components: {
      schemas: Object.fromEntries(shared.map((schema) => [idOf(schema), componentOf(schema)])),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A key, or a token.' },
        xToken: { type: 'apiKey', in: 'header', name: 'X-Token', description: 'The same.' },
      },
    },
  };
}

function operation(route: RouteContract, isLimited: boolean): Json {
  const codes = isLimited ? [...route.errors, 'TOO_MANY_REQUESTS' as const] : route.errors;
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...descriptionOf(route),
    parameters: [
      ...parameters(route.params, 'path'),
      ...parameters(route.query, 'query'),
      ...parameters(route.headers, 'header'),
      ...(route.success.kind === 'zip' ? downloadParameters : []),
    ],
    ...(route.body === undefined ? {} : { requestBody: requestBody(route.body) }),
    responses: { ...success(route.success), ...errors(codes, route.path) },
    ...(route.callers.includes('anyone') ? {} : { security: securityOf(route) }),
  };
}

/** Callers who show nothing may do what ANONYMOUS_ROLE says, at most publish; and log in. */
function securityOf({ access }: RouteContract): Json[] {
  const shown = [{ bearer: [] }, { xToken: [] }];
  return access === 'operate' || access === 'admin' || access === 'internal'
    ? shown
    : [{}, ...shown];
}

/** The role that it needs, in front of what it does. */
function descriptionOf({ access, description }: RouteContract): Json {
  const needs = access === 'open' || access === 'internal' ? '' : `Role: \`${access}\`. `;
  const text = needs + (description ?? '');
  return text === '' ? {} : { description: text.trim() };
}

function parameters(schema: TObject | undefined, place: 'path' | 'query' | 'header'): Json[] {
  if (schema === undefined) return [];
  // TypeBox leaves the list out when it is empty, which its types do not say.
  const { required = [] } = schema as { required?: readonly string[] };
  return Object.entries(schema.properties).map(([name, property]) => {
    const { description, ...rest } = schemaOf(property) as Json;
    return {
      name,
      in: place,
      required: place === 'path' || required.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

function requestBody(body: NonNullable<RouteContract['body']>): Json {
  if (body.kind === 'json') return { required: true, content: jsonContent(body) };
  if (body.kind === 'headed') {
    const content = { [headedType]: { schema: { type: 'string', format: 'binary' } } };
    return { required: true, description: body.description, content };
  }
  return {
    required: !body.optional,
    description: body.description,
    content: {
      ...(body.form ? { 'multipart/form-data': { schema: formSchema(body) } } : {}),
      'application/zip': { schema: { type: 'string', format: 'binary' } },
    },
  };
}

function jsonContent({ schema, hasBytes }: { schema: TSchema; hasBytes?: true }): Json {
  return {
    'application/json': { schema: schemaOf(schema) },
    ...(hasBytes && {
      'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
    }),
  };
}

function formSchema(body: ZipUpload): Json {
  return {
    type: 'object',
    properties: {
      zip_file: { type: 'string', format: 'binary', description: body.description },
    },
    ...(body.optional ? {} : { required: ['zip_file'] }),
  };
}

/** The responses under which it comes. */
function success(response: SuccessResponse): Json {
  const { description } = response;
  switch (response.kind) {
    case 'json':
      return { 200: { description, content: jsonContent(response) } };
    case 'zip':
      return download(description);
    case 'text':
      return { 200: { description, content: { 'text/plain': { schema: { type: 'string' } } } } };
    case 'lines': {
      const content = { 'application/x-ndjson': { schema: schemaOf(response.schema) } };
      return { 200: { description, content } };
    }
  }
}

function download(description: string): Json {
  const content = { 'application/zip': { schema: { type: 'string', format: 'binary' } } };
  return {
    200: { description, headers: headers([...ofAll, 'Content-Length']), content },
    206: {
      description: 'The part of it that `Range` asks for.',
      headers: headers([...ofAll, 'Content-Length', 'Content-Range']),
      content,
    },
    304: { description: 'It is what the caller has.', headers: headers(ofAll) },
  };
}

const ofAll = ['ETag', 'Last-Modified', 'Accept-Ranges', 'Cache-Control'];

function headers(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { schema: { type: 'string' } }]));
}

/** What a download looks at beside its parameters. */
const downloadParameters: Json[] = [
  ['Range', 'One range of bytes, as in `bytes=1000-`. Several, or another unit, are ignored.'],
  ['If-Range', 'The `ETag` that `Range` is meant for: of anything else the whole is sent.'],
  ['If-None-Match', 'The `ETag` of what the caller has: 304 when it is still that.'],
  ['If-Match', 'The `ETag` of what the caller wants: 412 when it is another.'],
  ['If-Modified-Since', 'The same by `Last-Modified`: 304.'],
  ['If-Unmodified-Since', 'The same by `Last-Modified`: 412.'],
].map(([name, description]) => ({
  name,
  in: 'header',
  required: false,
  description,
  schema: { type: 'string' },
}));

/** One response a status: the codes that share a status are listed in its description. */
function errors(codes: readonly ErrorCode[], path: string): Json {
  const isOip = isOipAddress(path);
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...codes, 'INTERNAL', 'SERVICE_UNAVAILABLE'] as const)) {
    const status = isOip ? oipStatusOf(code) : errorCodes[code].status;
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [
      status,
      {
        description: list.map((code) => `${errorCodes[code].title} (\`${code}\`)`).join(', or '),
        ...headersOf(list),
        content: isOip
          ? { 'application/json': { schema: schemaOf(OipError) } }
          : { 'application/problem+json': { schema: schemaOf(Problem) } },
      },
    ]),
  );
}

function headersOf(codes: readonly ErrorCode[]): Json {
  const isOfLimit = codes.some((code) => code === 'TOO_MANY_REQUESTS' || code === 'QUOTA_EXCEEDED');
  const isRetryable = codes.some((code) => errorCodes[code].retryable);
  const found = {
    ...((isRetryable || isOfLimit) && { 'Retry-After': { schema: { type: 'integer' } } }),
    ...(isOfLimit && headers(['RateLimit-Policy', 'RateLimit'])),
  };
  return Object.keys(found).length === 0 ? {} : { headers: found };
}

/** A named schema becomes a reference to its component; TypeBox's own references likewise. */
function schemaOf(schema: TSchema): unknown {
  return rewrite(schema);
}

function componentOf(schema: TSchema): unknown {
  const { $id, ...rest } = schema as Json;
  void $id;
  return rewrite(rest);
}

function rewrite(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(rewrite);
  if (typeof node !== 'object' || node === null) return node;
  const { $id, $ref } = node as { $id?: unknown; $ref?: unknown };
  const name = typeof $id === 'string' ? $id : typeof $ref === 'string' ? $ref : undefined;
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, rewrite(value)]));
}

function idOf(schema: TSchema): string {
  return (schema as { $id?: string }).$id ?? '';
}
