import { Ajv } from 'ajv';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dataTypes, type DataTypeName, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { jsonSchemaOf, predictRequestFromJson } from '../src/index.js';

const dtypes = (Object.keys(dataTypes) as DataTypeName[]).filter((name) => name !== 'DT_MAP');
const leaf = fc.record(
  {
    name: fc.constantFrom('a', 'b c', 'Größe'),
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.integer({ min: -1, max: 2 }), { maxLength: 2 }),
  },
  { requiredKeys: ['name', 'dtype'] },
) as fc.Arbitrary<ModelField>;
const map = leaf.map((field): ModelField => ({ name: 'm', shape: [], subfields: [field] }));

const scalar = fc.oneof(
  fc.boolean(),
  fc.double(),
  fc.integer(),
  fc.constantFrom(0, 255, 256, -1, 65_504, 65_505, 1e39, 2 ** 31, 'NaN', 'Infinity', null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }).map(String),
  fc.string(),
  fc.record({ base64: fc.base64String() }),
  fc.tuple(fc.float({ noNaN: true }), fc.constantFrom(1, 'NaN', 'x')),
);
/** Lists that are not ragged: which they are a schema cannot say. */
const value = fc.oneof(
  scalar,
  scalar.map((item) => [item]),
  scalar.map((item) => [item, item]),
  scalar.map((item) => [[item, item]]),
  scalar.map((item) => [[item], [item]]),
  fc.constantFrom([], [[]], [[], []]),
);

const takes = (fields: ModelField[], document: string) => {
  try {
    predictRequestFromJson({ inputs: fields }, document);
    return true;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
};

describe('the schema of inputs', () => {
  it('says of any value what the codec does', () => {
    const ajv = new Ajv({ strict: false });
    let taken = 0;
    fc.assert(
      fc.property(fc.oneof(leaf, map), value, (field, given) => {
        const inner = field.subfields?.[0];
        const document = JSON.stringify(
          Object.fromEntries([
            [field.name, inner === undefined ? given : Object.fromEntries([[inner.name, given]])],
          ]),
        );
        const isTaken = takes([field], document);
        const isValid = ajv.compile(jsonSchemaOf([field]))(JSON.parse(document));
        taken += isTaken ? 1 : 0;
        // Of a field of any shape the schema says no more than that it may be a list.
        const saysAll = (inner ?? field).shape !== undefined || !Array.isArray(given);
        if (saysAll) expect([document, isValid]).toEqual([document, isTaken]);
        else if (isTaken) expect(isValid).toBe(true);
      }),
      { seed: 8, numRuns: 1_500 },
    );
    expect(taken).toBeGreaterThan(100);
  });
});
