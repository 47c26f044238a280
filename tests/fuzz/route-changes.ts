import fc from 'fast-check';
import type { RouteContract } from '@inference-server/contracts';
import { encode, formOf, schemaOf, utf8, type Draft, type Token } from './route-draft.js';
import {
  fitting,
  jsonOf,
  near,
  nearJson,
  propertiesOf,
  RawJson,
  type Schema,
} from './schema-values.js';

export type Change = (draft: Draft) => void;

/** Every place of a route that a caller can put a value, by the contract alone. */
export function placesOf({ params, query, headers, body, success }: RouteContract): string[] {
  const names = (schema: unknown) => Object.keys((schema as Schema | undefined)?.properties ?? {});
  return [
    ...names(params).map((name) => `path ${name}`),
    ...names(query).map((name) => `query ${name}`),
    ...names(headers).map((name) => `header ${name}`),
    ...(body?.kind === 'json' ? propertiesOf(body.schema as Schema) : []).map(
      ([path]) => `body ${path}`,
    ),
    ...(body === undefined ? [] : ['body', 'header content-type']),
    ...(success.kind === 'zip' ? conditions : []).map((name) => `header ${name}`),
    'query',
    'header authorization',
    'method',
  ];
}

const conditions = [
  'range',
  'if-range',
  'if-none-match',
  'if-match',
  'if-modified-since',
  'if-unmodified-since',
];

/** Everything that can be wrong with, or odd about, a request of this route. */
export function changesOf(
  contract: RouteContract,
): { weight: number; arbitrary: fc.Arbitrary<Change> }[] {
  const { params, query, headers, body } = contract;
  const noted = (place: string, arbitrary: fc.Arbitrary<Change>, weight = 3) => ({
    weight,
    arbitrary: arbitrary.map((change): Change => (draft) => {
      draft.places.push(place);
      change(draft);
    }),
  });
  const inPath = Object.entries(schemaOf(params).properties ?? {}).map(([name, schema]) =>
    noted(
      `path ${name}`,
      pathText(schema).map((text): Change => (draft) => {
        draft.params.set(name, text);
        draft.isElsewhere ||= !/^[\w.%{}-]+$/.test(text) || /%2f|^\.+$|^%2e/i.test(text);
      }),
    ),
  );
  const inQuery = Object.entries(schemaOf(query).properties ?? {}).map(([name, schema]) =>
    noted(`query ${name}`, queryChange(name, schema)),
  );
  const inBody = body?.kind === 'json' ? propertiesOf(body.schema) : [];
  return [
    ...inPath,
    ...inQuery,
    ...Object.keys(schemaOf(headers).properties ?? {}).map((name) =>
      noted(`header ${name}`, ownHeader(name)),
    ),
    ...inBody.map(([path, schema]) =>
      noted(
        `body ${path}`,
        bodyValue(schema).map((value): Change => (draft) => {
          draft.body = replaceAt(draft.body, path.split('.'), value);
        }),
      ),
    ),
    ...(body === undefined ? [] : [noted('header content-type', bodyType)]),
    noted('body', body?.kind === 'json' ? wholeJson : wholeBody, body === undefined ? 1 : 4),
    ...(contract.success.kind === 'zip' ? conditions : []).map((name) =>
      noted(`header ${name}`, header(name)),
    ),
    noted('header', otherHeader),
    noted('query', strangeQuery),
    noted('header authorization', tokenChange, 4),
    noted('method', methodChange, 2),
    noted('path', suffixChange, 1),
  ];
}

const escapes = fc.constantFrom(
  ...['%', '%zz', '%00', '%0d%0a', '%2f', '%2e%2e', '..', '.', '%ff', '%ED%A0%80', '%F0%9F%98%80'],
  ...[
    '%25',
    'a%2fb',
    '%C3%A9',
    '\xff',
    '\xc3\xa9',
    'a/b',
    '',
    ';a=b',
    '@',
    "'",
    '(',
    '*',
    '&',
    '+',
  ],
);
const pathText = (schema: Schema) =>
  fc.oneof(
    fitting(schema).map((value) => encode(String(value))),
    near(schema).map((text) => encode(text.slice(0, 3_000))),
    escapes,
  );

function queryChange(name: string, schema: Schema): fc.Arbitrary<Change> {
  const replaced = fc
    .oneof(fitting(schema).map(String), near(schema))
    .map((text): Change => (draft) => {
      draft.query = [
        ...draft.query.filter(([each]) => each !== name),
        [name, text.slice(0, 3_000)],
      ];
    });
  const escaped = escapes.map(
    (text): Change =>
      (draft) =>
        draft.rawQuery.push(`${name}=${text}`),
  );
  const missing = fc.constant<Change>((draft) => {
    draft.query = draft.query.filter(([each]) => each !== name);
  });
  const twice = near(schema).map(
    (text): Change =>
      (draft) =>
        draft.query.push([name, text.slice(0, 500)]),
  );
  const renamed = fc
    .constantFrom(name.toUpperCase(), `${name}[]`, `${name}%00`, ` ${name}`, `${name}.a`)
    .map(
      (other): Change =>
        (draft) =>
          draft.query.push([other, '1']),
    );
  return fc.oneof({ weight: 5, arbitrary: replaced }, escaped, missing, twice, renamed);
}

const strangeQuery = fc
  .oneof(
    fc.constantFrom('__proto__', 'constructor', 'toString', 'a', 'q'.repeat(1_000), '<b>zq7</b>'),
    fc.constantFrom('container_tag', 'holder', 'wait', '', '%ff', 'a[b]', 'a.b'),
    fc.string({ unit: 'binary', maxLength: 10 }),
  )
  .map((name): Change => (draft) => {
    draft.query.push([name, '1']);
    // A post of a task that carries it is the registration of a model.
    draft.isElsewhere ||= name === 'container_tag';
  });

const bodyValue = (schema: Schema) => fc.oneof(fitting(schema), nearJson(schema), nearJson(schema));

/** Where there is no such property it is made. */
function replaceAt(node: unknown, [name = '', ...rest]: string[], value: unknown): unknown {
  const before = typeof node === 'object' && node !== null ? { ...node } : {};
  const inner = (before as Record<string, unknown>)[name];
  return { ...before, [name]: rest.length === 0 ? value : replaceAt(inner, rest, value) };
}

const longJson = new RawJson(`{"holder":"${'x'.repeat(2_200_000)}"}`);
const wholeJson: fc.Arbitrary<Change> = fc.oneof(
  nearJson({}).map((value): Change => (draft) => {
    draft.body = value;
  }),
  fc
    .constantFrom('"__proto__":{"holder":"x"}', '"extra":1', '"":0', '"constructor":1')
    .map((member): Change => (draft) => {
      draft.body = new RawJson(jsonOf(draft.body ?? null).replace(/^\{/, `{${member},`));
    }),
  fc
    .constantFrom('"holder":"twice"', '"lease":null', '"epoch":2')
    .map((member): Change => (draft) => {
      draft.body = new RawJson(jsonOf(draft.body ?? null).replace(/\}$/, `,${member}}`));
    }),
  fc.double({ min: 0, max: 1, noNaN: true }).map((share): Change => (draft) => {
    const text = jsonOf(draft.body ?? null);
    draft.body = new RawJson(text.slice(0, Math.floor(share * text.length)));
  }),
  fc.constantFrom('\ufeff', ' ', '\u0000', '//', '\xff').map((start): Change => (draft) => {
    draft.body = start + utf8(jsonOf(draft.body ?? null));
  }),
  fc
    .constantFrom(undefined, '', ' '.repeat(3_000), '\xed\xa0\x80', longJson)
    .map((body): Change => (draft) => {
      draft.body = body;
    }),
);

const wholeBody: fc.Arbitrary<Change> = fc
  .constantFrom<string | undefined>(undefined, '', 'text', '{}', formOf('x'), 'x'.repeat(70_000))
  .map((body): Change => (draft) => {
    draft.body = body;
  });

const bodyType = fc
  .constantFrom(
    ...[
      'application/json',
      'application/json; charset=utf-8',
      'APPLICATION/JSON',
      'text/plain',
      '',
    ],
    ...['application/zip', 'multipart/form-data', 'multipart/form-data; boundary=c', 'a', '/', ';'],
    ...['application/x-www-form-urlencoded', 'application/json, text/plain', 'text/json; a="b'],
    ...['application/problem+json', 'multipart/mixed; boundary=b', `a/${'b'.repeat(2_000)}`],
  )
  .map((type): Change => (draft) => {
    draft.bodyType = type;
    draft.body ??= '';
  });

const headerValue = fc.oneof(
  fc.constantFrom('{etag}', '"x"', 'W/{etag}', '*', '', ',', '"', `{etag}, "y"`, '"a", W/"b"'),
  fc.constantFrom(
    ...[
      'bytes=0-0',
      'bytes=5-',
      'bytes=-5',
      'bytes=0-',
      'bytes=99999999-',
      'bytes=-0',
      'bytes=1-0',
    ],
    ...[
      'bytes=0-1,2-3',
      'items=0-1',
      'bytes=',
      'bytes=-',
      'bytes=a-b',
      `bytes=${'9'.repeat(400)}-`,
    ],
    ...['bytes=0-99999999999999999999', 'BYTES=1-2', 'bytes =1-2', 'bytes=1-2, ', 'bytes=-1e3'],
  ),
  fc.constantFrom(
    ...['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', '2026-01-01', '0'],
    ...[
      'Sun Nov  6 08:49:37 1994',
      'Sun, 06 Nov 2994 08:49:37 GMT',
      'Sun, 31 Feb 2026 25:61:61 GMT',
    ],
  ),
  fc.constantFrom('{modified}', '<b>zq7</b>', 'x'.repeat(4_000), '\xff\xfe', '\t', 'é'),
);
const header = (name: string) =>
  headerValue.map(
    (value): Change =>
      (draft) =>
        draft.headers.push([name, value]),
  );
/** A text, mostly one of a few, so that two requests have the same. */
const ownHeader = (name: string) =>
  fc
    .oneof(
      headerValue,
      fc.constantFrom('a', 'b', 'c', '"quoted, or not', 'k'.repeat(255), 'k'.repeat(256), 'a\tb'),
    )
    .map(
      (value): Change =>
        (draft) =>
          draft.headers.push([name, value]),
    );
const otherHeader: fc.Arbitrary<Change> = fc
  .oneof(
    fc.tuple(
      fc.constantFrom(
        ...['accept', 'accept-encoding', 'cookie', 'forwarded', 'x-forwarded-for', 'origin'],
        ...['user-agent', 'referer', 'x-request-id', 'if-match', 'range', 'content-range', 'te'],
        ...[
          'inference-caller',
          'idempotency-key',
          'content-encoding',
          'expect',
          'upgrade',
          'trailer',
          'x-http-method-override',
          'via',
        ],
      ),
      fc.oneof(headerValue, fc.constantFrom('gzip', '100-continue', 'h2c', 'null', 'DELETE', '#')),
    ),
    fc.constantFrom<[string, string]>(
      ['host', 'localhost'],
      ['host', 'evil.example'],
      ['content-length', '0'],
      ['transfer-encoding', 'chunked'],
      ['transfer-encoding', 'gzip, chunked'],
      ['connection', 'close'],
      ['connection', 'content-type, authorization'],
      ['content-type', 'text/plain'],
      ['authorization', 'Bearer x'],
      ['x'.repeat(3_000), '1'],
      ['bad name', '1'],
      ['x', 'a\r\n folded'],
      ['x', 'a\u0000b'],
    ),
  )
  .map(
    (pair): Change =>
      (draft) =>
        draft.headers.push(pair),
  );

const tokenChange = fc
  .constantFrom<Token>(
    ...(['operator', 'public-api', 'rpc-gateway', 'consumer', 'forged', 'cut', 'none'] as const),
    'right',
  )
  .map((token): Change => (draft) => {
    draft.token = token;
  });

const methodChange = fc
  .constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND')
  .map((method): Change => (draft) => {
    draft.method = method;
    draft.isElsewhere = true;
  });

const suffixChange = fc
  .constantFrom('/', '//', '/.', '/%2f', '/x', '%00', ';a', '#x', '/../', '\\', '%', '/%zz')
  .map((suffix): Change => (draft) => {
    draft.suffix = suffix;
    draft.isElsewhere = true;
  });
