import fc from 'fast-check';

/** What is looked at of a JSON schema as TypeBox makes them. */
export interface Schema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  patternProperties?: Record<string, Schema>;
  required?: string[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  items?: Schema;
}

/** A value that goes into a JSON text as it is, whether it is JSON or not. */
export class RawJson {
  constructor(readonly text: string) {}
}

/** Any text that may stand in a JSON string. */
const anyText = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom('\u0000', 'a\u0000b', '\ud800', '\udc00x', '\u202e', '\ufeff', '\u2028'),
  fc.constantFrom('é', 'e\u0301', '😀', '\u001b[31m', '__proto__', 'constructor', '{"a":1}'),
);

/** What a schema may say that bounds no value. */
const annotations: ReadonlySet<string> = new Set(['title', 'description', 'default', 'examples']);

/** Any value of JSON, of few parts: a schema that says nothing of its values takes them all. */
export const anyJson: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  anyText,
  fc.constantFrom(0, -0, 0.1, 2 ** 31, -(2 ** 53), 1e308, null, [], {}),
);

/** Values that fit the schema, its bounds among them. Throws for a schema that it does not know. */
export function fitting(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(fitting));
  switch (schema.type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return fittingNumber(schema);
    case 'string':
      return fittingText(schema);
    case 'array':
      return fc.array(fitting(schema.items ?? {}), { maxLength: 4 });
    case 'object':
      return fittingObject(schema);
    default:
      if (Object.keys(schema).every((keyword) => annotations.has(keyword))) return anyJson;
      throw new Error(`no values for ${JSON.stringify(schema)}`);
  }
}

function fittingNumber({ type, minimum = -(2 ** 53), maximum = 2 ** 53 }: Schema) {
  const edges = [minimum, maximum, 0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 53, minimum + 1, maximum - 1];
  const inside = edges.filter((value) => value >= minimum && value <= maximum);
  const most = Math.min(maximum, minimum + 1_000);
  const any =
    type === 'integer'
      ? fc.integer({ min: Math.ceil(minimum), max: Math.floor(most) })
      : fc.double({ min: minimum, max: most, noNaN: true });
  return fc.oneof(any, fc.constantFrom(...inside));
}

/** With one level of groups in it. */
const negativeLookahead = /\(\?!(?:[^()]|\([^()]*\))*\)/g;

function fittingText({ pattern, minLength = 0, maxLength = 10_000 }: Schema) {
  const fits = (text: string) => text.length >= minLength && text.length <= maxLength;
  if (pattern !== undefined) {
    const whole = new RegExp(pattern);
    // fast-check makes nothing of what must not stand there: that is left out afterwards.
    const made = fc.stringMatching(new RegExp(pattern.replaceAll(negativeLookahead, '')));
    return made.filter((text) => fits(text) && whole.test(text));
  }
  const longest = fc.constantFrom('x', 'ü', '\u0000').map((unit) => unit.repeat(maxLength));
  const text = fc.oneof(
    { weight: 30, arbitrary: anyText },
    { weight: maxLength > 20_000 ? 0 : 2, arbitrary: longest },
  );
  return text.map((made) => made.padEnd(minLength, 'x').slice(0, maxLength));
}

function fittingObject({ properties = {}, patternProperties, required = [] }: Schema) {
  const values = Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [name, fitting(property)]),
  );
  const known = fc.record<Record<string, unknown>>(values, { requiredKeys: required });
  const [value] = Object.values(patternProperties ?? {});
  if (value === undefined) return known;
  return fc.dictionary(anyText, fitting(value), { maxKeys: 4 });
}

/** Texts around what the schema takes: at its bounds, past them, of other types, no texts at all. */
export function near(schema: Schema): fc.Arbitrary<string> {
  const { minimum, maximum, minLength = 0, maxLength = 300 } = schema;
  const numbers = [minimum, maximum].filter((bound) => bound !== undefined);
  const edges = [
    ...numbers.flatMap((bound) => [bound - 1, bound, bound + 1, bound + 0.5, -bound]).map(String),
    'x'.repeat(Math.max(0, minLength - 1)),
    ...(maxLength > 20_000 ? [] : ['x'.repeat(maxLength), 'x'.repeat(maxLength + 1)]),
  ];
  return fc.oneof(
    fc.constantFrom(...edges),
    fc.constantFrom('', ' ', '0', '-1', '1.5', '-0', '1e2', '1e308', '1e400', '0x10', '+1', ' 1'),
    fc.constantFrom('2147483647', '2147483648', '9007199254740993', '-9223372036854775809', '01'),
    fc.constantFrom('true', 'True', 'TRUE', 'false', 'null', 'undefined', 'NaN', 'Infinity', '१'),
    fc.constantFrom('{}', '[]', '[object Object]', 'x'.repeat(600), 'a,b', "'; --", '<b>zq7</b>'),
    anyText,
  );
}

/** JSON texts in the place of a value: of every type, past every bound, some of them no JSON. */
export function nearJson(schema: Schema): fc.Arbitrary<RawJson> {
  const text = fc.oneof(
    near(schema).map((value) => JSON.stringify(value)),
    fc.constantFrom('null', 'true', '0', '-1', '-0', '1.5', '1e400', '-1e400', '1e21', '1E2'),
    fc.constantFrom('2147483647', '2147483648', '-2147483649', '9007199254740993', '1e-400'),
    fc.constantFrom('[]', '{}', '[null]', '{"__proto__":{"a":1}}', '{"constructor":{}}', '""'),
    fc.constantFrom('"\\ud800"', '"\\u0000"', '"\\u2028"', '"\\uDC00\\uD800"', '"<b>zq7</b>"'),
    fc.constantFrom('undefined', 'NaN', "'x'", '01', '+1', '.5', '1.', '"\t"', '"\\x"', ''),
    fc.constantFrom(100, 5_000).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
    fc.constantFrom(100, 5_000).map((depth) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`),
  );
  return text.map((made) => new RawJson(made));
}

/** JSON.stringify that knows of RawJson. */
export function jsonOf(value: unknown): string {
  if (value instanceof RawJson) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([name, each]) => {
      return `${JSON.stringify(name)}:${jsonOf(each)}`;
    });
    return `{${entries.join(',')}}`;
  }
  return JSON.stringify(value);
}

/** Every property below the schema, as a dotted path. */
export function propertiesOf(schema: Schema, prefix = ''): [path: string, schema: Schema][] {
  return [
    ...(schema.anyOf ?? []).flatMap((each) => propertiesOf(each, prefix)),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, property]): [string, Schema][] => [
      [prefix + name, property],
      ...propertiesOf(property, `${prefix}${name}.`),
    ]),
  ];
}
