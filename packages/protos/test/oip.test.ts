import { describe, expect, it } from 'vitest';
import type { ModelContract, ModelField } from '@inference-server/contracts';
import {
  contentOf,
  contractViolation,
  decodeInferRequest,
  decodeOipModelRequest,
  encodeInferResponse,
  encodeInputs,
  encodeOipModelMetadata,
  encodeOipServerMetadata,
  encodeOipState,
  encodeOutputs,
  inferOutputsOf,
  inferRequestFromJson,
  inferResponseAsJson,
  oipModelMetadata,
  outlinePredictRequest,
  plainOutputs,
  tensorsOfInferRequest,
  tensorsOfPlain,
  type InferRequest,
} from '../src/index.js';
import { pythonReference, type TensorCase } from './python-reference.js';

const python = await pythonReference();

const readThere = (type: string, ...bytes: Buffer[]) =>
  python('read_messages', [[`inference.${type}`, Buffer.concat(bytes).toString('base64')]]);
const writtenThere = (type: string, fields: object) => {
  const [text] = python('make_messages', [[`inference.${type}`, fields]]) as [string];
  return Buffer.from(text, 'base64');
};
const base64 = (bytes: Buffer | string) => Buffer.from(bytes as string).toString('base64');

const contract: ModelContract = {
  signature_name: 'predict',
  inputs: [
    { name: 'x', dtype: 'DT_INT16', shape: [-1, 2] },
    { name: 't', dtype: 'DT_STRING' },
    { name: 's', dtype: 'DT_DOUBLE', shape: [] },
  ],
  outputs: [
    { name: 'y', dtype: 'DT_FLOAT', shape: [-1] },
    { name: 'label', dtype: 'DT_STRING', shape: [] },
  ],
};
/** What a model would be given, as plain values. */
const given = (request: InferRequest, of = contract) => {
  const tensors = tensorsOfInferRequest(of, request);
  const { inputs } = outlinePredictRequest(Buffer.concat(encodeInputs(tensors)));
  expect(contractViolation(of.inputs, inputs)).toBeUndefined();
  return plainOutputs({ outputs: of.inputs }, Buffer.concat(encodeOutputs(tensors)));
};
const answer = (values: object, of = contract) =>
  Buffer.concat(encodeOutputs(tensorsOfPlain(of.outputs, values)));
const all = { outputs: [], isBinary: true };
const head = { modelName: 'm', modelVersion: '3', id: '' };

describe('gRPC messages of the Open Inference Protocol', () => {
  const tensor = (name: string, datatype: string, shape: number[], contents?: object) => ({
    name,
    datatype,
    shape,
    ...(contents && { contents }),
  });

  it('have typed contents', () => {
    const request = decodeInferRequest(
      writtenThere('ModelInferRequest', {
        model_name: 'm',
        model_version: '3',
        id: 'a1',
        parameters: { priority: { int64_param: 1 } },
        inputs: [
          tensor('x', 'INT16', [2, 2], { int_contents: [1, -2, 32767, -32768] }),
          tensor('t', 'BYTES', [2], { bytes_contents: [base64('a'), ''] }),
          tensor('s', 'FP64', [1], { fp64_contents: [0.5] }),
        ],
        outputs: [{ name: 'label', parameters: { binary_data: { bool_param: true } } }],
      }),
    );
    expect(request).toMatchObject({ modelName: 'm', modelVersion: '3', id: 'a1' });
    expect(request.outputs).toEqual([{ name: 'label', isBinary: true }]);
    const x = [
      [1, -2],
      [32767, -32768],
    ];
    expect(given(request)).toEqual({ x, t: ['a', ''], s: 0.5 });
  });

  it('have raw contents', () => {
    const raw = ['0100feffff7f0080', '01000000ff00000000', '000000000000e03f'];
    const fields = {
      inputs: [tensor('x', 'INT16', [2, 2]), tensor('t', 'BYTES', [2]), tensor('s', 'FP64', [1])],
      raw_input_contents: raw.map((hex) => base64(Buffer.from(hex, 'hex'))),
    };
    const request = decodeInferRequest(writtenThere('ModelInferRequest', fields));
    expect(request).toMatchObject({ modelName: '', modelVersion: '', id: '', outputs: [] });
    expect(given(request)).toMatchObject({ t: [new Uint8Array([255]), ''], s: 0.5 });
  });

  it.each([
    [{ inputs: [tensor('x', 'INT8', [1])], raw_input_contents: [] }, 'must be INT16'],
    [{ inputs: [tensor('x', 'INT16', [1, 2], { int_contents: [1] })] }, 'a number of values'],
    [
      { inputs: [tensor('x', 'INT16', [1], { int_contents: [32768] })] },
      'no values of its datatype',
    ],
    [{ inputs: [tensor('x', 'INT16', [1], { fp32_contents: [1] })] }, 'a number of values'],
    [{ inputs: [tensor('x', 'INT16', [0, 2])] }, 'The input "t" is missing'],
    [{ inputs: [tensor('x', 'INT16', [0]), tensor('x', 'INT16', [0])] }, 'stands twice'],
    [{ inputs: [], raw_input_contents: [''] }, 'raw_input_contents are to stand for each'],
    [{ inputs: [tensor('x', 'INT16', [-1])] }, 'a size that is out of range'],
    [
      { inputs: [tensor('x', 'INT16', new Array<number>(255).fill(1))] },
      'more than 254 dimensions',
    ],
    [{ parameters: { sequence_id: { int64_param: 1 } } }, 'the parameter "sequence_id"'],
    [{ outputs: [{ name: 'y', parameters: { classification: {} } }] }, '"classification"'],
    [{ outputs: [{ name: 'y' }, { name: 'y' }] }, 'asked for twice'],
    [{ outputs: [{ name: 'secret' }] }, 'an output asked for that the model does not have'],
  ])('are refused: %j', (fields, message) => {
    const bytes = writtenThere('ModelInferRequest', fields);
    const read = () => tensorsOfInferRequest(contract, decodeInferRequest(bytes));
    expect(read).toThrow(message);
    expect(read).not.toThrow('secret');
  });

  it('are refused where raw texts are cut short', () => {
    const of = { inputs: [{ name: 't', dtype: 'DT_STRING' as const }], outputs: [] };
    for (const hex of ['', '010000', '02000000ff', '00000000', '000000000000000000000000']) {
      const values = { raw: Buffer.from(hex, 'hex') };
      const inputs = [{ name: 't', datatype: 'BYTES', shape: [2], values }];
      expect(() => tensorsOfInferRequest(of, { ...head, ...all, inputs })).toThrow(
        'The input "t" has a number of values that is not that of its shape.',
      );
    }
  });

  it('are refused where they are none', () => {
    for (const hex of ['ff', '2a05', '2a021a01', '0a01ff']) {
      expect(() => decodeInferRequest(Buffer.from(hex, 'hex'))).toThrow('no valid protobuf');
    }
    const many = Buffer.concat(new Array<Buffer>(1_001).fill(Buffer.from([0x2a, 0])));
    expect(() => decodeInferRequest(many)).toThrow('more than 1000 tensors');
  });

  it('answer with raw contents', () => {
    const outputs = inferOutputsOf(contract, all, answer({ label: 'é', y: [1, -0.5] }));
    const response = encodeInferResponse({ ...head, id: 'a1' }, outputs);
    expect(readThere('ModelInferResponse', ...response)).toEqual([
      {
        model_name: 'm',
        model_version: '3',
        id: 'a1',
        outputs: [
          { name: 'y', datatype: 'FP32', shape: ['2'] },
          { name: 'label', datatype: 'BYTES' },
        ],
        raw_output_contents: [
          base64(Buffer.from('0000803f000000bf', 'hex')),
          base64(Buffer.from('02000000c3a9', 'hex')),
        ],
      },
    ]);
  });

  it('tell of the server and of models', () => {
    const model = { name: 'm', versions: ['3', '2'], platform: 'p' };
    const metadata = oipModelMetadata(model, contract);
    expect(metadata.inputs).toEqual([
      tensor('x', 'INT16', [-1, 2]),
      tensor('t', 'BYTES', [-1]),
      tensor('s', 'FP64', []),
    ]);
    expect(readThere('ModelMetadataResponse', encodeOipModelMetadata(metadata))).toMatchObject([
      {
        ...model,
        inputs: [{ name: 'x', shape: ['-1', '2'] }, { name: 't' }, { name: 's' }],
        outputs: [{ datatype: 'FP32', shape: ['-1'] }, { datatype: 'BYTES' }],
      },
    ]);
    const server = { name: 's', version: '1', extensions: ['binary_tensor_data'] };
    expect(readThere('ServerMetadataResponse', encodeOipServerMetadata(server))).toEqual([server]);
    expect(readThere('ModelReadyResponse', encodeOipState(true))).toEqual([{ ready: true }]);
    expect(readThere('ServerLiveResponse', encodeOipState(false))).toEqual([{}]);
    const asked = writtenThere('ModelMetadataRequest', { name: 'm', version: '3' });
    expect(decodeOipModelRequest(asked)).toEqual({ name: 'm', version: '3' });
  });
});

describe('JSON of the Open Inference Protocol', () => {
  const read = (document: object | string, binary = Buffer.alloc(0), of = contract) => {
    const json = Buffer.from(typeof document === 'string' ? document : JSON.stringify(document));
    return inferRequestFromJson(of, Buffer.concat([json, binary]), json.byteLength);
  };
  const input = (name: string, datatype: string, shape: unknown, data?: unknown) => ({
    name,
    datatype,
    shape,
    data,
  });
  const rest = [input('t', 'BYTES', [1], ['a']), input('s', 'FP64', [], [0.5])];

  it.each([
    ['flat', [1, 2, 3, 4]],
    [
      'nested',
      [
        [1, 2],
        [3, 4],
      ],
    ],
  ])('has its data %s', (_, data) => {
    const request = read({ id: 'a1', inputs: [input('x', 'INT16', [2, 2], data), ...rest] });
    expect(request).toMatchObject({ id: 'a1', isBinary: false, outputs: [] });
    const x = [
      [1, 2],
      [3, 4],
    ];
    expect(given(request)).toEqual({ x, t: ['a'], s: 0.5 });
  });

  it('has bytes behind it, and nulls for what it does not say', () => {
    const size = (binary_data_size: number) => ({ parameters: { binary_data_size } });
    const request = read(
      {
        id: null,
        parameters: { binary_data_output: true },
        inputs: [
          { ...input('x', 'INT16', [1, 2]), ...size(4) },
          { ...rest[1], parameters: null },
          { ...input('t', 'BYTES', [1]), ...size(5) },
        ],
        outputs: [{ name: 'y' }, { name: 'label', parameters: { binary_data: false } }],
      },
      Buffer.from('01000200' + '01000000ff', 'hex'),
    );
    expect(request.outputs).toEqual([
      { name: 'y', isBinary: true },
      { name: 'label', isBinary: false },
    ]);
    expect(given(request)).toEqual({ x: [[1, 2]], t: [new Uint8Array([255])], s: 0.5 });
  });

  it.each<[object | string, string]>([
    ['{secret', 'The body is no JSON'],
    [{ inputs: {} }, 'The request is invalid: inputs: '],
    [{ inputs: [input('x', 'INT16', [-1], [])] }, 'The request is invalid: inputs.0.shape.0: '],
    [{ inputs: [input('x', 'INT16', [1.5], [])] }, 'inputs.0.shape.0'],
    [{ inputs: [input('x', 'secret', [1], [1])] }, 'The input "x" must be INT16'],
    [{ inputs: [input('x', 'INT16', [2, 2], [1, 2, 3])] }, 'The input "x" must be a list of 4'],
    [
      { inputs: [input('x', 'INT16', [2, 2], [[1, 2], [3]])] },
      'The input "x"[1] must be a list of 2',
    ],
    [{ inputs: [input('x', 'INT16', [1, 2], [1, 'secret'])] }, 'The input "x"[1] must be a whole'],
    [{ inputs: [input('x', 'INT16', [1, 2])] }, 'The input "x" must be a list'],
    [{ inputs: [], parameters: { sequence_id: 5 } }, 'the parameter "sequence_id"'],
    [{ inputs: [{ ...rest[0], parameters: { shared_memory_region: 'secret' } }] }, 'shared_memory'],
    [{ inputs: [], outputs: [{ name: 'y', parameters: { classification: 1 } }] }, 'classification'],
    [
      { inputs: [{ ...input('t', 'BYTES', [1]), parameters: { binary_data_size: 9 } }] },
      'not as many as',
    ],
    [
      { inputs: [{ ...input('t', 'BYTES', [1]), parameters: { binary_data_size: -1 } }] },
      'not as many as',
    ],
    [{ inputs: [{ ...rest[0], parameters: { binary_data_size: 0 } }] }, 'data beside the bytes'],
  ])('is refused: %j', (document, message) => {
    const act = () => tensorsOfInferRequest(contract, read(document));
    expect(act).toThrow(message);
    expect(act).not.toThrow('secret');
  });

  it('is refused where other bytes stand behind it, or fewer than it is said to have', () => {
    expect(() => read({ inputs: [] }, Buffer.from('x'))).toThrow('not as many as');
    expect(() => inferRequestFromJson(contract, Buffer.from('{}'), 3)).toThrow('is shorter');
    expect(() => inferRequestFromJson(contract, Buffer.from('{}'), NaN)).toThrow('is shorter');
  });

  it('is answered with data, and with bytes where they are asked for', () => {
    const message = answer({ label: 'é', y: [1, NaN] });
    const told = (isBinary: boolean) => {
      const request = {
        outputs: [
          { name: 'label', isBinary },
          { name: 'y', isBinary: false },
        ],
      };
      const outputs = inferOutputsOf(contract, { ...all, ...request }, message);
      const { pieces, jsonLength } = inferResponseAsJson({ ...head, id: 'a1' }, outputs);
      const body = Buffer.concat(pieces);
      const json = JSON.parse(body.toString('utf8', 0, jsonLength)) as unknown;
      return { json, binary: body.subarray(jsonLength ?? body.byteLength).toString('hex') };
    };
    const y = { name: 'y', datatype: 'FP32', shape: [2], data: [1, 'NaN'] };
    const label = { name: 'label', datatype: 'BYTES', shape: [] };
    const rest = { model_name: 'm', model_version: '3', id: 'a1' };
    expect(told(false)).toEqual({
      json: { ...rest, outputs: [{ ...label, data: ['é'] }, y] },
      binary: '',
    });
    expect(told(true)).toEqual({
      json: { ...rest, outputs: [{ ...label, parameters: { binary_data_size: 6 } }, y] },
      binary: '02000000c3a9',
    });
  });

  it('has whole numbers of 64 bits as numbers, both ways', () => {
    const fields: ModelField[] = [{ name: 'n', dtype: 'DT_UINT64', shape: [-1] }];
    const of = { inputs: fields, outputs: fields };
    const json =
      '{"inputs":[{"name":"n","datatype":"UINT64","shape":[2],"data":[18446744073709551615,5]}]}';
    const request = inferRequestFromJson(of, Buffer.from(json));
    const message = Buffer.concat(encodeOutputs(tensorsOfInferRequest(of, request)));
    const { pieces } = inferResponseAsJson(head, inferOutputsOf(of, request, message));
    expect(Buffer.concat(pieces).toString()).toContain('"data":[18446744073709551615,5]');
  });

  it('cannot have bytes that are no text', () => {
    const outputs = inferOutputsOf(
      contract,
      { ...all, isBinary: false },
      answer({ label: new Uint8Array([255]), y: [] }),
    );
    expect(() => inferResponseAsJson(head, outputs)).toThrow(
      'The output "label" has bytes that are no text: ask for it with binary_data.',
    );
  });
});

describe('what the Open Inference Protocol has no type for', () => {
  const map: ModelField = { name: 'm', subfields: [{ name: 'a', dtype: 'DT_INT8' }] };
  const complex: ModelField = { name: 'c', dtype: 'DT_COMPLEX64' };
  const plain: ModelField = { name: 'p', dtype: 'DT_BOOL', shape: [1] };

  it('is told by the tensor’s name', () => {
    const model = { name: 'm', versions: [], platform: '' };
    expect(() => oipModelMetadata(model, { inputs: [map], outputs: [] })).toThrow(
      'The input "m" is of the type DT_MAP, for which the Open Inference Protocol has none.',
    );
    expect(() => oipModelMetadata(model, { inputs: [], outputs: [complex] })).toThrow(
      'The output "c" is of the type DT_COMPLEX64',
    );
    const of = { inputs: [], outputs: [complex, plain] };
    const request = { ...head, ...all, inputs: [] };
    expect(() => tensorsOfInferRequest(of, request)).toThrow('The output "c"');
    const asked = { ...request, outputs: [{ name: 'p', isBinary: true }] };
    expect(tensorsOfInferRequest(of, asked).size).toBe(0);
  });

  it('is the model’s fault where its contract says other types, or it lacks one', () => {
    const message = answer({ c: [1, 0] }, { ...contract, outputs: [complex] });
    for (const outputs of [[], [{ name: 'p', isBinary: true }]]) {
      expect(() => inferOutputsOf({ outputs: [plain] }, { ...all, outputs }, message)).toThrow(
        expect.objectContaining({ code: 'MODEL_ERROR' }),
      );
    }
  });

  it('is refused of booleans that are neither 0 nor 1', () => {
    const values = { raw: Buffer.from([2]) };
    const inputs = [{ name: 'p', datatype: 'BOOL', shape: [1], values }];
    expect(() =>
      tensorsOfInferRequest({ inputs: [plain], outputs: [] }, { ...head, ...all, inputs }),
    ).toThrow('neither 0 nor 1');
  });
});

describe('random tensors of each type, made by Python', () => {
  it('are the same bytes from JSON and raw contents, and back', () => {
    const cases = python('tensors', { seed: 9, each: 10 }) as TensorCase[];
    for (const { dtype, shape, json, content, responses } of cases) {
      const fields = [{ name: 'x', dtype, shape }];
      const of = { inputs: fields, outputs: fields };
      if (dtype.startsWith('DT_COMPLEX')) continue;
      const metadata = oipModelMetadata({ name: '', versions: [], platform: '' }, of);
      const { datatype } = metadata.inputs[0]!;
      const data = shape.length === 0 ? `[${json}]` : json;
      const start = `{"inputs":[{"name":"x","datatype":"${datatype}","shape":${JSON.stringify(shape)}`;
      const fromJson = inferRequestFromJson(of, Buffer.from(`${start},"data":${data}}]}`));
      const values = { raw: Buffer.from(content, 'hex') };
      const fromRaw = { ...fromJson, inputs: [{ name: 'x', datatype, shape, values }] };
      for (const request of json.includes('NaN') ? [fromRaw] : [fromRaw, fromJson]) {
        const tensors = encodeInputs(tensorsOfInferRequest(of, request));
        const tensor = outlinePredictRequest(Buffer.concat(tensors)).inputs.get('x')!;
        expect(contentOf(tensor).toString('hex')).toBe(content);
      }
      for (const response of responses) {
        const [output] = inferOutputsOf(of, all, Buffer.from(response, 'base64'));
        expect(output).toMatchObject({ name: 'x', datatype, shape, values: values.raw });
      }
    }
  });
});
