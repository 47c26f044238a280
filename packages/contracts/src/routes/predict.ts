import Type from 'typebox';
import { defineRoute } from '../route.js';
import { HumanReadableId } from '../schemas/names.js';
import { maxStoredInteger } from '../schemas/stored-integer.js';

const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'] as const;

export const predict = defineRoute({
  operationId: 'predict',
  method: 'POST',
  path: '/api/models/:human_readable_id/predict',
  tag: 'models',
  summary: 'Ask a model',
  description:
    'Inputs by name as plain JSON, outputs likewise. A scalar, or a tensor of no said shape with one element, is the plain value; other tensors are nested lists. Text is a string; bytes that are no UTF-8 are {"base64": "…"}. 64-bit integers beyond 2^53 are strings of digits, and taken as such or as numbers; NaN, Infinity and -Infinity are strings. A map is an object. A batch model is asked by a task of the caller’s, which has the inputs in /input/inputs.json and answers with /output/outputs.json; {"base64": "…"} is always bytes to it.',
  params: Type.Object({ human_readable_id: HumanReadableId }),
  query: Type.Object(
    {
      version: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: maxStoredInteger,
          description: 'Default: the current one.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  body: { kind: 'json', schema: Type.Record(Type.String(), Type.Unknown()) },
  success: {
    kind: 'json',
    schema: Type.Record(Type.String(), Type.Unknown()),
    description: 'The outputs by name.',
  },
  errors: [
    ...errors,
    'MALFORMED_REQUEST',
    'PAYLOAD_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'UPLOAD_TOO_SLOW',
    'MODEL_NOT_FOUND',
    'TOO_MANY_REQUESTS',
    'QUOTA_EXCEEDED',
    'STORAGE_FULL',
    'ZIP_REFUSED',
    'MODEL_ERROR',
    'DEADLINE_EXCEEDED',
  ],
  access: 'submit',
  object: 'model',
  callers: ['public-api'],
  servedBy: 'rpc-gateway',
});
