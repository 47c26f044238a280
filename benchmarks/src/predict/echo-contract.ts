import type { ModelRegistration } from '@inference-server/sdk';

/** One input of any bytes, given back. */
export const echoContract: NonNullable<ModelRegistration['contract']> = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_UINT8', shape: [-1] }],
  outputs: [{ name: 'x', dtype: 'DT_UINT8', shape: [-1] }],
};
