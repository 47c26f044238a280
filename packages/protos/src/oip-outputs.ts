import { dataTypes, type DataTypeName, type ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { dataTypeName, fixedType } from './data-types.js';
import { oipDatatype } from './oip-datatypes.js';
import type { InferRequest } from './oip-request.js';
import { answered, contractDims } from './plain-outputs.js';
import { outlinePredictResponse } from './predict-message.js';
import { badTensor, contentOf, dimsOf, maxContentBytes, stringsOf } from './tensor-content.js';
import type { TensorOutline } from './tensor-outline.js';

/** An output as the Open Inference Protocol has it, before it is written in one of its forms. */
export interface InferOutput {
  name: string;
  datatype: string;
  shape: number[];
  dtype: DataTypeName;
  /** Of numbers what stands in `tensor_content`, or texts. */
  values: Buffer | Buffer[];
  isBinary: boolean;
}

/**
 * The outputs that a request asks for, in its order, of a PredictResponse; else all, in the contract's.
 * Throws MODEL_ERROR of an answer that is none, lacks one, or has one of a type that the protocol has not.
 */
export function inferOutputsOf(
  contract: Pick<ModelContract, 'outputs'>,
  request: Pick<InferRequest, 'outputs' | 'isBinary'>,
  message: Buffer,
): InferOutput[] {
  return answered(() => {
    const { outputs } = outlinePredictResponse(message);
    const known = contract.outputs.filter(({ name }) => outputs.has(name)).map(({ name }) => name);
    const all = [...new Set([...known, ...outputs.keys()])];
    const asked =
      request.outputs.length > 0
        ? request.outputs
        : all.map((name) => ({ name, isBinary: request.isBinary }));
    let grown = 0;
    return asked.map(({ name, isBinary }) => {
      const tensor = outputs.get(name);
      if (tensor === undefined) throw new AppError('MODEL_ERROR', 'An output is missing.');
      const field = contract.outputs.find((output) => output.name === name);
      const output = readOutput(tensor, field?.shape);
      grown += Math.max(bytesOf(output.values) - tensor.bytes.byteLength, 0);
      if (grown <= maxContentBytes) return { name, isBinary, ...output };
      throw badTensor('would take too much room once it is written out, with those before it');
    });
  });
}

function readOutput(
  tensor: TensorOutline,
  contractShape: readonly number[] | undefined,
): Omit<InferOutput, 'name' | 'isBinary'> {
  const dtype = dataTypeName(tensor.dtype);
  const datatype = oipDatatype(dtype);
  if (dtype === undefined || datatype === undefined) {
    const type = dtype ?? 'DT_INVALID';
    throw badTensor(`is of the type ${type}, for which the Open Inference Protocol has none`);
  }
  const values = tensor.dtype === dataTypes.DT_STRING ? stringsOf(tensor) : contentOf(tensor);
  const shape = dimsOf(tensor) ?? shapeOf(valuesIn({ dtype, values }), contractShape);
  return { datatype: datatype.name, shape, dtype, values };
}

function bytesOf(values: Buffer | Buffer[]): number {
  if (Buffer.isBuffer(values)) return values.byteLength;
  return values.reduce((sum, text) => sum + 4 + text.byteLength, 0);
}

/** How many there are. */
export function valuesIn({ dtype, values }: Pick<InferOutput, 'dtype' | 'values'>): number {
  if (Array.isArray(values)) return values.length;
  return values.byteLength / (fixedType(dataTypes[dtype])?.size ?? 1);
}

/** Of a tensor that says none. */
function shapeOf(count: number, contractShape: readonly number[] | undefined): number[] {
  if (contractShape?.length === 0 && count === 1) return [];
  return contractDims(contractShape, count) ?? [count];
}
