import Type, { type Static } from 'typebox';
import { maxStoredInteger } from './stored-integer.js';

/** Of the Open Inference Protocol: bytes that stand behind a JSON document are told by its length, in this header. */
export const oipLengthHeader = 'inference-header-content-length';

/** The body of every error there. */
export const OipError = Type.Object(
  { error: Type.String({ description: 'What is wrong, for a person.' }) },
  { $id: 'OipError' },
);

export const OipVersion = Type.Integer({ minimum: 1, maximum: maxStoredInteger });

export const OipServerLive = Type.Object({ live: Type.Boolean() });
export const OipServerReady = Type.Object({ ready: Type.Boolean() });

export const OipServerMetadata = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String(), { examples: [['binary_tensor_data']] }),
});
export type OipServerMetadata = Static<typeof OipServerMetadata>;

export const OipModelReady = Type.Object({ name: Type.String(), ready: Type.Boolean() });

const TensorMetadata = Type.Object({
  name: Type.String(),
  datatype: Type.String({ examples: ['FP32', 'BYTES'] }),
  shape: Type.Array(Type.Integer(), { description: '-1 is any size.' }),
});

export const OipModelMetadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String(), { description: 'Those that can be asked for.' }),
  platform: Type.String(),
  inputs: Type.Array(TensorMetadata),
  outputs: Type.Array(TensorMetadata),
});

const Parameters = Type.Optional(
  Type.Record(Type.String(), Type.Unknown(), {
    description:
      '`binary_data_size` of an input, `binary_data` of an output, `binary_data_output` of a request.',
  }),
);

export const OipInferRequest = Type.Object({
  id: Type.Optional(Type.String({ description: 'Given back with the answer.' })),
  parameters: Parameters,
  inputs: Type.Array(
    Type.Object({
      name: Type.String(),
      shape: Type.Array(Type.Integer({ minimum: 0 })),
      datatype: Type.String({ examples: ['FP32'] }),
      parameters: Parameters,
      data: Type.Optional(Type.Array(Type.Unknown(), { description: 'Flat, or in its shape.' })),
    }),
  ),
  outputs: Type.Optional(
    Type.Array(Type.Object({ name: Type.String(), parameters: Parameters }), {
      description: 'Default: all that the model has.',
    }),
  ),
});

export const OipInferResponse = Type.Object({
  model_name: Type.String(),
  model_version: Type.String(),
  id: Type.Optional(Type.String()),
  outputs: Type.Array(
    Type.Object({
      name: Type.String(),
      datatype: Type.String(),
      shape: Type.Array(Type.Integer()),
      parameters: Type.Optional(Type.Object({ binary_data_size: Type.Integer() })),
      data: Type.Optional(Type.Array(Type.Unknown())),
    }),
  ),
});
