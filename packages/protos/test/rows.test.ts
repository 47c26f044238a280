import { describe, expect, it } from 'vitest';
import type { ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  concatInputs,
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
    expect(requests.map((inputs) => rowsOf(contract, inputs))).toEqual([1, 2]);
    const { inputs } = outlinePredictRequest(Buffer.concat(concatInputs(contract, requests)!));
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
    expect(concatInputs(contract, [inputsOf(calls[0]), other])).toBeUndefined();
    expect(concatInputs(contract, [])).toBeUndefined();
    const scalars = {
      ...contract,
      outputs: [{ name: 'y', dtype: 'DT_FLOAT' as const, shape: [] }],
    };
    expect(rowsOf(scalars, other)).toBeUndefined();
    const uneven = inputsOf({ x: [[1]], id: ['a', 'b'] });
    expect(rowsOf(contract, uneven)).toBeUndefined();
  });

  it('are the model’s fault where an output has another number of rows', () => {
    const tensors = tensorsOfPlain(contract.inputs, calls[2]);
    const answer = Buffer.concat(encodeOutputs(tensors));
    expect(() => splitOutputs(answer, [1, 2])).toThrow(AppError);
    expect(() => splitOutputs(answer, [1, 2])).toThrow(/number of rows/);
  });
});
