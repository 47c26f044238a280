import { expect, it } from 'vitest';
import {
  contractOfInferRequest,
  encodeOutputs,
  inferOutputsOf,
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
  const all = { outputs: [], isBinary: true };
  const [first] = inferOutputsOf({ outputs: [] }, all, outputs('a'));
  expect(first).toMatchObject({ datatype: 'FP32', shape: [25 * 1024 ** 2] });
  expect(() => inferOutputsOf({ outputs: [] }, all, outputs('a', 'b', 'c'))).toThrow(
    'would take too much room',
  );
});
