import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import type { ModelField } from '@inference-server/contracts';
import {
  contractViolation,
  encodeContent,
  encodeInputs,
  encodeStrings,
  outlinePredictRequest,
  rowsOf,
  tensorsOfPlain,
} from '../src/index.js';

const floats = (dims: number[], bytes: number) =>
  Buffer.concat(encodeContent(1, dims, Buffer.alloc(bytes)));
/** Its values in float_val. */
const typed = (dims: number[], ...values: number[]) => {
  const writer = new BinaryWriter().tag(5, WireType.LengthDelimited).fork();
  for (const value of values) writer.float(value);
  return Buffer.concat([floats(dims, 0), writer.join().finish()]);
};
const violationOf = (fields: ModelField[], tensors: Map<string, Buffer>) => {
  const { inputs } = outlinePredictRequest(Buffer.concat(encodeInputs(tensors)));
  return contractViolation(fields, inputs);
};
const x = (more: Partial<ModelField> = {}): ModelField => ({
  name: 'x',
  dtype: 'DT_FLOAT',
  shape: [-1, 2],
  ...more,
});

describe('what breaks a contract', () => {
  it.each<[string, ModelField[], Record<string, Buffer>, string]>([
    ['a missing input', [x()], {}, 'The input "x" is missing.'],
    ['an unknown input', [], { secret: floats([], 4) }, 'an input that the model does not have'],
    ['another type', [x({ dtype: 'DT_INT32' })], { x: floats([1, 2], 8) }, 'must be DT_INT32'],
    ['another rank', [x()], { x: floats([2], 8) }, 'must have the shape [-1, 2]'],
    ['another size', [x()], { x: floats([1, 3], 12) }, 'must have the shape [-1, 2]'],
    ['a list for a scalar', [x({ shape: [] })], { x: floats([1], 4) }, 'must have the shape []'],
    ['a size below 0', [x()], { x: floats([-1, 2], 8) }, 'must have the shape'],
    ['too few values', [x()], { x: floats([2, 2], 12) }, 'number of values'],
    ['one value in tensor_content', [x()], { x: floats([2, 2], 4) }, 'number of values'],
    ['too many typed values', [x()], { x: typed([1, 2], 1, 2, 3) }, 'number of values'],
    ['part of a value', [x()], { x: floats([1, 2], 7) }, 'no multiple'],
    ['no type', [x()], { x: Buffer.alloc(0) }, 'is no known data type'],
  ])('is told: %s', (_, fields, tensors, detail) => {
    const violation = violationOf(fields, new Map(Object.entries(tensors)));
    expect(violation?.detail).toContain(detail);
    expect(violation?.detail).not.toContain('secret');
  });

  it('is no shape where the tensor says none, or the contract', () => {
    const bare = new BinaryWriter()
      .tag(1, WireType.Varint)
      .int32(1)
      .tag(5, WireType.Bit32)
      .float(1);
    const tensor = Buffer.from(bare.finish());
    expect(violationOf([x({ shape: [3, 3] })], new Map([['x', tensor]]))).toBeUndefined();
    const unknownRank = Buffer.concat([tensor, Buffer.from([0x12, 2, 0x18, 1])]);
    expect(violationOf([x({ shape: [3, 3] })], new Map([['x', unknownRank]]))).toBeUndefined();
    const anyShape: ModelField = { name: 'x', dtype: 'DT_FLOAT' };
    expect(violationOf([anyShape], new Map([['x', floats([1, 1, 1], 4)]]))).toBeUndefined();
  });

  it('is no lack of typed values: the last one fills what is left', () => {
    for (const values of [[1], [1, 2], [1, 2, 3]]) {
      expect(violationOf([x()], new Map([['x', typed([2, 2], ...values)]]))).toBeUndefined();
    }
  });

  it('is no lack of all of them: they are zeros, and the call goes alone', () => {
    const contract = { inputs: [x()], outputs: [x()] };
    const { inputs } = outlinePredictRequest(
      Buffer.concat(encodeInputs(new Map([['x', floats([2, 2], 0)]]))),
    );
    expect(contractViolation(contract.inputs, inputs)).toBeUndefined();
    expect(rowsOf(contract, inputs)).toBeUndefined();
    const texts: ModelField = { name: 'x', dtype: 'DT_STRING', shape: [3] };
    const none = encodeStrings([3], []);
    expect(violationOf([texts], new Map([['x', none]]))).toBeUndefined();
    const maps: ModelField = { name: 'x', shape: [-1], subfields: [] };
    const noMaps = encodeContent(27, [3], Buffer.alloc(0));
    expect(violationOf([maps], new Map([['x', Buffer.concat(noMaps)]]))?.detail).toContain(
      'number of values',
    );
  });

  it('is told of values in maps', () => {
    const map = (...subfields: ModelField[]): ModelField => ({ name: 'm', shape: [], subfields });
    const tensors = tensorsOfPlain([map(x())], { m: { x: [[1, 2]] } });
    expect(violationOf([map(x())], tensors)).toBeUndefined();
    expect(violationOf([map(x({ shape: [1, 3] }))], tensors)?.field).toBe('m.x');
    expect(violationOf([map(x(), x({ name: 'y' }))], tensors)?.field).toBe('m.y');
    const fewer = violationOf([map(x({ name: 'z' }))], tensors);
    expect(fewer).toEqual({ field: 'm.z', detail: 'The input "m.z" is missing.' });
  });
});
