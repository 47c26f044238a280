import { expect, it } from 'vitest';
import type { DataTypeName, ModelContract } from '@inference-server/contracts';
import {
  contractOfInferRequest,
  encodeOutputs,
  inferOutputsOf,
  inferResponseAsJson,
  jsonFromPredictResponse,
  plainOutputs,
  tensorsOfInferRequest,
  type InferRequest,
} from '../src/index.js';

const input = (name: string, datatype: string) => ({
  ...{ name, datatype, shape: [1] },
  values: { data: [1] },
});
const request = (datatype: string): InferRequest => ({
  ...{ modelName: '', modelVersion: '', id: '', isBinary: false },
  inputs: [input('x', datatype)],
  outputs: [{ name: 'y', isBinary: false }],
});

it('a request says its own types where there is no contract', () => {
  const asked = request('INT8');
  const contract = contractOfInferRequest(asked);
  expect(contract).toEqual({
    inputs: [{ name: 'x', dtype: 'DT_INT8' }],
    outputs: [{ name: 'y', dtype: 'DT_STRING' }],
  });
  expect([...tensorsOfInferRequest(contract, asked).keys()]).toEqual(['x']);
  const odd = () => contractOfInferRequest(request('secret'));
  expect(odd).toThrow('There is an input of a datatype that is not known.');
  expect(odd).not.toThrow('secret');
});

it('values in every place that is left take no more room together than one tensor may', () => {
  // DT_FLOAT of 100 MiB, of which one value stands in float_val.
  const size = Buffer.from([0x08, 0x80, 0x80, 0xc0, 0x0c]);
  const dim = Buffer.concat([Buffer.from([0x12, size.length]), size]);
  const shape = Buffer.concat([Buffer.from([0x12, dim.length]), dim]);
  const tensor = Buffer.concat([Buffer.from([0x08, 1]), shape, Buffer.from([0x2d, 0, 0, 0, 0])]);
  const outputs = (...names: string[]) =>
    Buffer.concat(encodeOutputs(new Map(names.map((name) => [name, tensor]))));
  const wanted = { outputs: [], isBinary: true };
  const [first] = inferOutputsOf({ outputs: [] }, wanted, outputs('a'));
  expect(first).toMatchObject({ datatype: 'FP32', shape: [25 * 1024 ** 2] });
  expect(() => inferOutputsOf({ outputs: [] }, wanted, outputs('a', 'b', 'c'))).toThrow(
    'would take too much room',
  );
});

const contractOf = (dtype: DataTypeName, ...names: string[]): ModelContract => {
  const fields = names.map((name) => ({ name, dtype, shape: [-1] }));
  return { signature_name: 'predict', inputs: fields, outputs: fields };
};
const all = { outputs: [], modelName: '', modelVersion: '', id: '' };

it('numbers of JSON are no more than are told in a moment', () => {
  const contract = contractOf('DT_BOOL', 'a', 'b');
  const tensors = (count: number) =>
    encodeOutputs(
      tensorsOfInferRequest(contract, {
        ...{ ...all, isBinary: false },
        inputs: ['a', 'b'].map((name) => ({
          ...{ name, datatype: 'BOOL', shape: [count] },
          values: { raw: Buffer.alloc(count) },
        })),
      }),
    );
  const [few, many] = [tensors(10), tensors(2_000_001)].map((pieces) => Buffer.concat(pieces));
  const told = (message = many, isBinary = false) =>
    inferResponseAsJson(all, inferOutputsOf(contract, { ...all, isBinary }, message ?? few!));
  expect(() => told()).toThrow('more than 4000000 values: ask for them with binary_data');
  expect(told(many, true).jsonLength).toBeGreaterThan(0);
  expect(told(few).jsonLength).toBeUndefined();
  expect(() => jsonFromPredictResponse(contract, many!)).toThrow('more than 4000000 values');
  expect(jsonFromPredictResponse(contract, few!)).toContain('false');
  // Other forms are no text.
  expect(Object.keys(plainOutputs(contract, many!))).toEqual(['a', 'b']);
});

it('typed contents are no more than are read in a moment, of all inputs together', () => {
  const mib = 1024 ** 2;
  const read = (datatype: string, dtype: DataTypeName, bytes: number, count: number) => {
    // Field 3 or 6, of 5 MiB: four bytes of length.
    const length = [0x80, 0x80, 0x80 | (bytes >>> 14), bytes >>> 21].map((byte) => byte & 0xff);
    const tag = datatype === 'FP32' ? 0x32 : 0x1a;
    const contents = Buffer.concat([Buffer.from([tag, ...length]), Buffer.alloc(bytes, 1)]);
    const inputs = ['a', 'b'].map((name) => ({
      ...{ name, datatype, shape: [count] },
      values: { contents },
    }));
    return tensorsOfInferRequest(contractOf(dtype, 'a', 'b'), { ...all, isBinary: true, inputs });
  };
  expect(read('INT64', 'DT_INT64', mib, mib).size).toBe(2);
  expect(() => read('INT64', 'DT_INT64', 5 * mib, 5 * mib)).toThrow(
    'The input "b" has so much in typed contents that it is to be given as raw contents.',
  );
  expect(read('FP32', 'DT_FLOAT', 5 * mib, (5 * mib) / 4).size).toBe(2);
});

it('numbers that are written out take no more room than a tensor may', () => {
  // DT_INT64 of 33 Mi values in int64_val, of one byte each.
  const values = Buffer.alloc(33 * 1024 ** 2, 1);
  const length = [0x80, 0x80, 0x80 | (33 << 6), 33 >>> 1].map((byte) => byte & 0xff);
  const tensor = Buffer.concat([Buffer.from([0x08, 9, 0x52, ...length]), values]);
  const message = Buffer.concat(encodeOutputs(new Map([['a', tensor]])));
  expect(() => inferOutputsOf({ outputs: [] }, { ...all, isBinary: true }, message)).toThrow(
    'would take too much room once written out',
  );
});
