import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { dataTypes, type ModelContract } from '@inference-server/contracts';
import {
  contentOf,
  contractViolation,
  decodeModelContract,
  encodeInputs,
  encodeModelContract,
  encodeModelSpec,
  fileDescriptors,
  jsonFromPredictResponse,
  outlinePredictRequest,
  outlinePredictResponse,
  predictRequestFromJson,
} from '../src/index.js';
import { pythonReference, type TensorCase } from './python-reference.js';

let python: (command: string, value: unknown) => unknown;
beforeAll(async () => {
  python = await pythonReference();
});

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [
    { name: 'image', dtype: 'DT_UINT8', shape: [-1, 28, 28], profile: 'IMAGE' },
    { name: 'scalar', dtype: 'DT_DOUBLE', shape: [] },
    {
      name: 'person',
      shape: [],
      subfields: [
        { name: 'age', dtype: 'DT_INT64', shape: [], profile: 'NUMERICAL' },
        { name: 'name', dtype: 'DT_STRING' },
      ],
    },
  ],
  outputs: [{ name: 'Größe', dtype: 'DT_FLOAT', shape: [-1] }],
};

describe('a contract and Python’s protobuf', () => {
  it('is read there as it was written here', () => {
    const bytes = encodeModelContract(contract, 'my model').toString('base64');
    const dim = (...sizes: number[]) => ({ dim: sizes.map((size) => ({ size: String(size) })) });
    expect(python('read_contract', bytes)).toEqual({
      model_name: 'my model',
      predict: {
        signature_name: 'predict',
        inputs: [
          { name: 'image', dtype: 'DT_UINT8', shape: dim(-1, 28, 28), profile: 'IMAGE' },
          { name: 'scalar', dtype: 'DT_DOUBLE', shape: {} },
          {
            name: 'person',
            shape: {},
            subfields: {
              data: [
                { name: 'age', dtype: 'DT_INT64', shape: {}, profile: 'NUMERICAL' },
                { name: 'name', dtype: 'DT_STRING' },
              ],
            },
          },
        ],
        outputs: [{ name: 'Größe', dtype: 'DT_FLOAT', shape: dim(-1) }],
      },
    });
  });

  it('is read here as it was written there', () => {
    const written = python('read_contract', encodeModelContract(contract, 'm').toString('base64'));
    const bytes = Buffer.from(python('make_contract', written) as string, 'base64');
    expect(decodeModelContract(bytes)).toEqual(contract);
  });
});

describe('requests and descriptors in Python', () => {
  it('has model_spec before the inputs', () => {
    const inputs = encodeInputs(new Map([['x', Buffer.from([8, 1])]]));
    const spec = encodeModelSpec({ name: 'm', version: 7n, signatureName: 's' });
    const bytes = Buffer.concat([spec, ...inputs]);
    expect(python('read_request', bytes.toString('base64'))).toEqual({
      model_spec: { name: 'm', version: '7', signature_name: 's' },
      inputs: { x: { dtype: 'DT_FLOAT' } },
    });
  });

  it('knows the files, of which the committed ones are those of protoc', () => {
    const texts = [...fileDescriptors.values()].map((file) => file.toString('base64'));
    expect(python('file_names', texts)).toEqual([...fileDescriptors.keys()]);
    const script = join(inject('repository'), 'packages/protos/generate-descriptors.mjs');
    execFileSync(process.execPath, [script, '--check']);
  });
});

describe('random tensors of each type, made by Python', () => {
  it('are the same JSON in both representations, and the same bytes from JSON', () => {
    const cases = python('tensors', { seed: 8, each: 25 }) as TensorCase[];
    expect(cases).toHaveLength(500);
    for (const { dtype, shape, json, content, responses } of cases) {
      const fields = [{ name: 'x', dtype, shape }];
      for (const response of responses.map((text) => Buffer.from(text, 'base64'))) {
        const text = jsonFromPredictResponse({ outputs: fields }, response);
        expect(JSON.parse(text)).toEqual({ x: JSON.parse(json) as unknown });
        const { outputs } = outlinePredictResponse(response);
        expect(contractViolation(fields, outputs)).toBeUndefined();
      }
      const request = predictRequestFromJson({ inputs: fields }, `{"x":${json}}`);
      const tensor = outlinePredictRequest(request).inputs.get('x')!;
      expect(tensor.dtype).toBe(dataTypes[dtype]);
      expect(tensor.shape?.dims).toEqual(shape.map(BigInt));
      if (!json.includes('NaN')) expect(contentOf(tensor).toString('hex')).toBe(content);
    }
  });
});
