import Type from 'typebox';
import { defineRoute } from '../route.js';
import { Invocation, InvocationHead, InvocationIdText } from '../schemas/invocation.js';
import { maxStoredInteger, minStoredInteger } from '../schemas/stored-integer.js';

const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'] as const;

export const getInvocation = defineRoute({
  operationId: 'getInvocation',
  method: 'GET',
  path: '/invocation/:id',
  tag: 'invocations',
  summary: 'Get what was stored of an invocation',
  description:
    'The input of the last call of `invocation.v1.Invocation/Invoke` with this id that the caller made and a model answered, and what the model said. Kept as long as the output of a task. One’s own alone, whatever the role.',
  params: Type.Object({ id: InvocationIdText }),
  query: Type.Object({}, { additionalProperties: false }),
  success: { kind: 'json', schema: Invocation, description: 'The input, and the output.' },
  errors: [...errors, 'DUPLICATE_PARAMETER', 'INVOCATION_NOT_FOUND'],
  access: 'submit',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const storeInvocation = defineRoute({
  operationId: 'storeInvocation',
  method: 'POST',
  path: '/internal/invocations',
  tag: 'invocations',
  summary: 'Store an invocation that a model has answered',
  description:
    'In place of an earlier one of the same caller and id. It is readable, and durable, when this is answered.',
  body: {
    kind: 'headed',
    head: InvocationHead,
    description:
      'Four bytes that tell the length of the head, the highest first; the head as JSON, of at most 1 MiB; then the content as UTF-8, of at most 64 MiB.',
  },
  success: {
    kind: 'json',
    schema: Type.Object({
      id: Type.Integer({ minimum: minStoredInteger, maximum: maxStoredInteger }),
    }),
    description: 'Its id.',
  },
  errors: [
    ...errors,
    'MALFORMED_REQUEST',
    'PAYLOAD_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'UPLOAD_TOO_SLOW',
    'QUOTA_EXCEEDED',
    'STORAGE_FULL',
  ],
  access: 'submit',
  object: 'none',
  callers: ['rpc-gateway'],
});
