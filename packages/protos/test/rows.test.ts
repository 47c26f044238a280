import { describe, expect, it } from 'vitest';
import type { ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  concatInputs,
  encodeContent,
  encodeInputs,
  encodeOutputs,
  jsonFromPredictResponse,
  outlinePredictRequest,
  predictRequestFromJson,
  rowsOf,
  splitOutputs,
  tensorsOfPlain,
} from '../src/index.js';

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [
    { name: 'x', dtype: 'DT_FLOAT', shape: [-1, -1] },
    { name: 'id', dtype: 'DT_STRING', shape: [-1] },
  ],
  outputs: [
    { name: 'x', dtype: 'DT_FLOAT', shape: [-1, -1] },
    { name: 'id', dtype: 'DT_STRING', shape: [-1] },
  ],
};
const inputsOf = (value: unknown) =>
  outlinePredictRequest(predictRequestFromJson(contract, JSON.stringify(value))).inputs;

describe('calls that go together', () => {
  const calls = [
    { x: [[1, 2]], id: ['a'] },
    { x: [], id: [] },
    { x: [[3, 4], [5, 6]], id: ['b', 'c'] }, // prettier-ignore
  ];

  it('are one call with the rows of all, whose answer is split again', () => {
    const requests = [calls[0], calls[2]].map(inputsOf);
    const rows = requests.map((inputs) => rowsOf(contract, inputs)!);
    expect(rows.map(({ count }) => count)).toEqual([1, 2]);
    const { inputs } = outlinePredictRequest(Buffer.concat(concatInputs(rows)!));
    const outputs = new Map([...inputs].map(([name, { bytes }]) => [name, bytes]));
    const unknown = Buffer.from([0x98, 0x06, 0x01]);
    const answer = Buffer.concat([...encodeOutputs(outputs), unknown]);
    const parts = splitOutputs(answer, [1, 2]);
    expect(
      parts.map((part) => JSON.parse(jsonFromPredictResponse(contract, part)) as unknown),
    ).toEqual([calls[0], calls[2]]);
    expect(parts.every((part) => part.subarray(-3).equals(unknown))).toBe(true);
  });

  it('are none where open sizes differ, or the contract has no rows', () => {
    const other = inputsOf({ x: [[1, 2, 3]], id: ['d'] });
    const both = [inputsOf(calls[0]), other].map((inputs) => rowsOf(contract, inputs)!);
    expect(concatInputs(both)).toBeUndefined();
    expect(concatInputs([])).toBeUndefined();
    expect(rowsOf(contract, inputsOf(calls[2]), 1)).toBeUndefined();
    const scalars = {
      ...contract,
      outputs: [{ name: 'y', dtype: 'DT_FLOAT' as const, shape: [] }],
    };
    expect(rowsOf(scalars, other)).toBeUndefined();
    const uneven = inputsOf({ x: [[1]], id: ['a', 'b'] });
    expect(rowsOf(contract, uneven)).toBeUndefined();
  });

  it('are none where the values do not make the shape, or grow beyond what came', () => {
    const one = { ...contract, inputs: contract.inputs.slice(0, 1) };
    const value = Buffer.from([0x2d, 0, 0, 0x80, 0x3f]);
    const of = (dims: number[], ...parts: Buffer[]) => {
      const tensor = Buffer.concat([...encodeContent(1, dims, Buffer.alloc(0)), ...parts]);
      return rowsOf(one, outlinePredictRequest(encodeAll(tensor)).inputs);
    };
    const encodeAll = (x: Buffer) => Buffer.concat(encodeInputs(new Map([['x', x]])));
    expect(of([1, 2], value, value)?.count).toBe(1);
    expect(of([1, 3], value)?.tensors.get('x')?.values).toHaveLength(12);
    expect(of([1, 3], value, value)?.tensors.get('x')?.values).toHaveLength(12);
    expect(of([1, 1], value, value)).toBeUndefined();
    expect(of([1, 2 ** 25], value)).toBeUndefined();
    expect(of([1, 2 ** 62], value)).toBeUndefined();
  });

  it('are the model’s fault where an output has another number of rows', () => {
    const tensors = tensorsOfPlain(contract.inputs, calls[2]);
    const answer = Buffer.concat(encodeOutputs(tensors));
    expect(() => splitOutputs(answer, [1, 2])).toThrow(AppError);
    expect(() => splitOutputs(answer, [1, 2])).toThrow(/number of rows/);
  });

  it('are refused where all of them together would take too much room', () => {
    // DT_FLOAT of [2, 15000000] with one value in float_val.
    const tensor = Buffer.from('0801120b12020802120508c0c393072d00000000', 'hex');
    const answerOf = (...names: string[]) =>
      Buffer.concat(encodeOutputs(new Map(names.map((name) => [name, tensor]))));
    expect(splitOutputs(answerOf('a', 'b'), [1, 1])).toHaveLength(2);
    expect(() => splitOutputs(answerOf('a', 'b', 'c'), [1, 1])).toThrow('too much room');
  });
});
