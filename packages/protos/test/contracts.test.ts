import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { decodeModelContract, encodeModelContract, parseContractJson } from '../src/index.js';

const contract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_FLOAT', shape: [-1, 4] }],
  outputs: [{ name: 'y', dtype: 'DT_STRING', shape: [] }],
};

const refusal = (act: () => unknown) => {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'accepted';
};

describe('a contract in JSON', () => {
  it('is taken as it is, and with types in other ways', () => {
    expect(parseContractJson(JSON.stringify(contract))).toEqual(contract);
    const loose = JSON.stringify(contract).replace('DT_FLOAT', 'float').replace('DT_S', 'dt_s');
    expect(parseContractJson(loose)).toEqual(contract);
  });

  it.each<[string, unknown, string]>([
    ['no object', 3, 'The contract is invalid: '],
    ['DT_INVALID', { dtype: 'DT_INVALID' }, 'inputs[1].dtype'],
    ['an unknown type', { dtype: 'secret' }, 'inputs[1].dtype'],
    ['a size below -1', { dtype: 'INT8', shape: [4, -2] }, 'inputs[1].shape[1]'],
    ['a size that is no whole number', { dtype: 'INT8', shape: [1.5] }, 'inputs[1].shape[0]'],
    ['neither type nor fields', {}, 'inputs[1]: has neither'],
    ['both', { dtype: 'MAP', subfields: [{ name: 'a', dtype: 'INT8' }] }, 'inputs[1]: has both'],
    ['no fields in a map', { subfields: [] }, 'inputs[1].subfields'],
    ['a name that stands there twice', { name: 'x', dtype: 'INT8' }, 'inputs[1].name'],
    ['a value of another type', { name: 7, dtype: 'INT8' }, 'inputs[1].name'],
    ['a key of its own', { dtype: 'INT8', secret: 1 }, 'inputs[1]'],
    [
      'a map with a name twice',
      { subfields: ['a', 'a'].map((name) => ({ name, dtype: 'INT8' })) },
      'inputs[1].subfields[1].name',
    ],
  ])('is refused with %s', (_, input, place) => {
    const value =
      typeof input === 'object'
        ? { ...contract, inputs: [...contract.inputs, { name: 'secret', ...input }] }
        : input;
    const text = refusal(() => parseContractJson(JSON.stringify(value)));
    expect(text).toContain('VALIDATION_FAILED');
    expect(text).toContain(place);
    expect(text).not.toContain('secret');
  });

  it('is refused when it is no JSON, or nested without end', () => {
    expect(refusal(() => parseContractJson('{secret'))).toMatch(/VALIDATION_FAILED .*no JSON/);
    const twice = JSON.stringify(contract).replace('{', '{"signature_name":"secret",');
    expect(refusal(() => parseContractJson(twice))).toMatch(/^VALIDATION_FAILED [^]*stands twice/);
    const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    expect(refusal(() => parseContractJson(deep(50)))).toMatch(/nested too deeply/);
    expect(refusal(() => parseContractJson(deep(5_000)))).toMatch(/more than 64 deep/);
  });
});

describe('contract.protobin', () => {
  it('is what was written, whatever the contract', () => {
    const leaf = fc.record(
      {
        dtype: fc.constantFrom('DT_FLOAT', 'DT_STRING', 'DT_MAP', 'DT_UINT64', 'DT_VARIANT'),
        shape: fc.array(fc.integer({ min: -1 }), { maxLength: 5 }),
        profile: fc.constantFrom('NONE', 'IMAGE', 'RATIO'),
      },
      { requiredKeys: ['dtype'] },
    );
    const named = (fields: object[]) => fields.map((field, at) => ({ name: `f${at}`, ...field }));
    const map = fc.array(leaf, { minLength: 1 }).map((fields) => ({ subfields: named(fields) }));
    const fields = fc.array(fc.oneof(leaf, map)).map((list) => named(list) as ModelField[]);
    fc.assert(
      fc.property(fields, fields, (inputs, outputs) => {
        const made = { signature_name: 's', inputs, outputs };
        expect(decodeModelContract(encodeModelContract(made, 'm'))).toEqual(made);
      }),
      { seed: 8 },
    );
  });

  it('may have several signatures, as before 2019', () => {
    const signature = (name: string) =>
      encodeModelContract(
        { ...parseContractJson(JSON.stringify(contract)), signature_name: name },
        '',
      )
        // Field 1, the model's name, is empty and takes two bytes.
        .subarray(2);
    const named = (...names: string[]) =>
      decodeModelContract(Buffer.concat(names.map(signature))).signature_name;
    expect(named('a', 'infer', 'predict')).toBe('predict');
    expect(named('a', 'infer')).toBe('infer');
    expect(named('b', 'a')).toBe('b');
    expect(named('')).toBe('predict');
  });

  it('may have fields that nobody knows here', () => {
    const bytes = encodeModelContract(parseContractJson(JSON.stringify(contract)), 'm');
    const unknown = Buffer.from([0x98, 0x06, 0x01, 0xa2, 0x06, 0x02, 0x61, 0x62]);
    expect(decodeModelContract(Buffer.concat([unknown, bytes, unknown]))).toEqual(contract);
  });

  it('is refused with the place of what is wrong', () => {
    const bytes = encodeModelContract(parseContractJson(JSON.stringify(contract)), 'm');
    const without = (from: number[], to: number[]) => {
      const at = bytes.indexOf(Buffer.from(from));
      const changed = Buffer.from(bytes);
      changed.set(to, at);
      return refusal(() => decodeModelContract(changed));
    };
    expect(without([0x20, 1], [0x20, 99])).toContain('inputs[0].dtype');
    expect(without([0x20, 1], [0x20, 0])).toContain('inputs[0].dtype');
    expect(without([0x20, 1], [0x28, 1])).toContain('inputs[0]: has neither');
    expect(refusal(() => decodeModelContract(bytes.subarray(0, -1)))).toContain('ModelContract');
    expect(refusal(() => decodeModelContract(Buffer.alloc(0)))).toContain('no signature');
  });

  it('is read or refused, whatever the bytes', () => {
    const bytes = encodeModelContract(parseContractJson(JSON.stringify(contract)), 'm');
    const changes = fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })));
    fc.assert(
      fc.property(changes, (changed) => {
        const damaged = Buffer.from(bytes);
        for (const [at, byte] of changed) damaged[at] = byte;
        expect(refusal(() => decodeModelContract(damaged))).toMatch(
          /^(VALIDATION_FAILED|accepted)/,
        );
      }),
      { seed: 8, numRuns: 3_000 },
    );
  });
});
