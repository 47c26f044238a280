import Type from 'typebox';
import { defineRoute } from '../route.js';
import { HumanReadableId } from '../schemas/names.js';
import {
  OipInferRequest,
  OipInferResponse,
  oipLengthHeader,
  OipModelMetadata,
  OipModelReady,
  OipServerLive,
  OipServerMetadata,
  OipServerReady,
  OipVersion,
} from '../schemas/oip.js';

const tag = 'open inference protocol';
const noQuery = Type.Object({}, { additionalProperties: false });
const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'] as const;

/** public-api answers it itself: for whoever asks whether it is worth asking. */
const health = {
  method: 'GET',
  tag,
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
  servedBy: 'public-api',
} as const;

export const oipServerLive = defineRoute({
  ...health,
  operationId: 'oipServerLive',
  path: '/v2/health/live',
  summary: 'Whether the server is alive',
  success: { kind: 'json', schema: OipServerLive, description: 'It is.' },
});

export const oipServerReady = defineRoute({
  ...health,
  operationId: 'oipServerReady',
  path: '/v2/health/ready',
  summary: 'Whether calls of models are taken',
  success: { kind: 'json', schema: OipServerReady, description: 'They are.' },
});

const relayed = {
  tag,
  query: noQuery,
  access: 'submit',
  callers: ['public-api'],
  servedBy: 'rpc-gateway',
} as const;

export const oipServerMetadata = defineRoute({
  ...relayed,
  operationId: 'oipServerMetadata',
  method: 'GET',
  path: '/v2',
  summary: 'What the server is, and which extensions it has',
  success: { kind: 'json', schema: OipServerMetadata, description: 'Its name and extensions.' },
  errors,
  object: 'none',
});

const ofModel = {
  ...relayed,
  params: Type.Object({ human_readable_id: HumanReadableId }),
  object: 'model',
} as const;

const ofVersion = {
  ...ofModel,
  params: Type.Object({ human_readable_id: HumanReadableId, version: OipVersion }),
} as const;

const modelReady = {
  method: 'GET',
  summary: 'Whether a model can be asked',
  description: 'Also one without a replica that gets one when it is asked.',
  success: { kind: 'json', schema: OipModelReady, description: 'It can.' },
  errors: [...errors, 'MODEL_NOT_FOUND', 'DEADLINE_EXCEEDED'],
} as const;

export const oipModelReady = defineRoute({
  ...ofModel,
  ...modelReady,
  operationId: 'oipModelReady',
  path: '/v2/models/:human_readable_id/ready',
});

export const oipModelVersionReady = defineRoute({
  ...ofVersion,
  ...modelReady,
  operationId: 'oipModelVersionReady',
  path: '/v2/models/:human_readable_id/versions/:version/ready',
});

const modelMetadata = {
  method: 'GET',
  summary: 'What a model takes and gives',
  success: { kind: 'json', schema: OipModelMetadata, description: 'Its inputs and outputs.' },
  errors: [...errors, 'MODEL_NOT_FOUND', 'DEADLINE_EXCEEDED'],
} as const;

export const oipModelMetadata = defineRoute({
  ...ofModel,
  ...modelMetadata,
  operationId: 'oipModelMetadata',
  path: '/v2/models/:human_readable_id',
});

export const oipModelVersionMetadata = defineRoute({
  ...ofVersion,
  ...modelMetadata,
  operationId: 'oipModelVersionMetadata',
  path: '/v2/models/:human_readable_id/versions/:version',
});

const infer = {
  method: 'POST',
  summary: 'Ask a model with tensors',
  description:
    'With the binary tensor data extension: where the bytes of inputs stand behind the JSON, in their order, `Inference-Header-Content-Length` is the length of the JSON, in the answer likewise. Any content type is taken, and none. NaN, Infinity and -Infinity are strings in JSON; bytes that are no UTF-8 are given and taken as binary data.',
  headers: Type.Object({
    [oipLengthHeader]: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
        description: 'The bytes of the JSON. Default: the whole body.',
      }),
    ),
  }),
  body: { kind: 'json', schema: OipInferRequest, hasBytes: true },
  success: {
    kind: 'json',
    schema: OipInferResponse,
    hasBytes: true,
    description: 'The outputs that were asked for.',
  },
  errors: [
    ...errors,
    'MALFORMED_REQUEST',
    'PAYLOAD_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'UPLOAD_TOO_SLOW',
    'MODEL_NOT_FOUND',
    'TOO_MANY_REQUESTS',
    'MODEL_ERROR',
    'DEADLINE_EXCEEDED',
  ],
} as const;

export const oipModelInfer = defineRoute({
  ...ofModel,
  ...infer,
  operationId: 'oipModelInfer',
  path: '/v2/models/:human_readable_id/infer',
});

export const oipModelVersionInfer = defineRoute({
  ...ofVersion,
  ...infer,
  operationId: 'oipModelVersionInfer',
  path: '/v2/models/:human_readable_id/versions/:version/infer',
});
