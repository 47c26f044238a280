import type { ModelContract, ModelField } from '@inference-server/contracts';
import { oipDatatypeOf } from './oip-datatypes.js';

/** As it stands in JSON, too. */
export interface OipModelMetadata {
  name: string;
  versions: string[];
  platform: string;
  inputs: OipTensorMetadata[];
  outputs: OipTensorMetadata[];
}

export interface OipTensorMetadata {
  name: string;
  datatype: string;
  /** -1 is any size. */
  shape: number[];
}

/**
 * What the Open Inference Protocol tells of a model. Throws VALIDATION_FAILED with the name of an input or an
 * output that it has no type for.
 */
export function oipModelMetadata(
  model: { name: string; versions: string[]; platform: string },
  contract: Pick<ModelContract, 'inputs' | 'outputs'>,
): OipModelMetadata {
  return {
    ...model,
    inputs: contract.inputs.map((field) => tensorMetadata(field, 'input')),
    outputs: contract.outputs.map((field) => tensorMetadata(field, 'output')),
  };
}

/** Of a shape that the contract does not say, one list is as near as it gets. */
function tensorMetadata(field: ModelField, kind: 'input' | 'output'): OipTensorMetadata {
  const { name, shape = [-1] } = field;
  return { name, datatype: oipDatatypeOf(field, kind).name, shape };
}
