import Type from 'typebox';
import { defineRoute } from '../route.js';
import {
  ConsumerDetails,
  ConsumerIds,
  ConsumerList,
  ConsumerRegistered,
  ConsumerRegistration,
  GoneConsumers,
  HeldAttempts,
  ModelVersionIds,
  UnusedModelVersions,
} from '../schemas/consumer.js';
import { ConsumerId } from '../schemas/names.js';

const ConsumerParams = Type.Object({ consumer_id: ConsumerId });
const NoQuery = Type.Object({}, { additionalProperties: false });
const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'CONFLICT'] as const;

export const registerConsumer = defineRoute({
  operationId: 'registerConsumer',
  method: 'PUT',
  path: '/internal/consumers/:consumer_id',
  tag: 'consumers',
  summary: 'Register a consumer, and keep it registered',
  description:
    'Registration and heartbeat in one: repeated at the interval of the answer. CONSUMER_EXISTS while another process is heard of under this id, DEVICE_TAKEN while another consumer is heard of that has the device, a slice of it, or the GPU that it is a slice of. FORBIDDEN where the policy has not what it says of itself.',
  params: ConsumerParams,
  body: { kind: 'json', schema: ConsumerRegistration },
  success: { kind: 'json', schema: ConsumerRegistered, description: 'It is registered.' },
  errors: [...errors, 'CONSUMER_EXISTS', 'DEVICE_TAKEN'],
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});

export const signOffConsumer = defineRoute({
  operationId: 'signOffConsumer',
  method: 'DELETE',
  path: '/internal/consumers/:consumer_id',
  tag: 'consumers',
  summary: 'Sign a stopping consumer off',
  description: 'Its tickets go back to the backlog at once.',
  params: ConsumerParams,
  query: Type.Object({ holder: Type.String({ minLength: 1, maxLength: 100 }) }),
  success: {
    kind: 'json',
    schema: Type.Object({ returned_tickets: Type.Integer() }),
    description: 'It is signed off.',
  },
  errors,
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});

export const listHeldAttempts = defineRoute({
  operationId: 'listHeldAttempts',
  method: 'GET',
  path: '/internal/consumers/:consumer_id/attempts',
  tag: 'consumers',
  summary: 'List the attempts that this consumer may hold or adopt',
  params: ConsumerParams,
  success: { kind: 'json', schema: HeldAttempts, description: 'Its attempts that have not ended.' },
  errors,
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});

export const listConsumers = defineRoute({
  operationId: 'listConsumers',
  method: 'GET',
  path: '/api/consumers/',
  tag: 'consumers',
  summary: 'List the consumers',
  query: NoQuery,
  success: { kind: 'json', schema: ConsumerList, description: 'Every consumer, by id.' },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'],
  access: 'operate',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const drainConsumer = defineRoute({
  operationId: 'drainConsumer',
  method: 'POST',
  path: '/api/consumers/:consumer_id/drain',
  tag: 'consumers',
  summary: 'Give a consumer no more tasks',
  description:
    'What it runs goes on to its end; what it has tickets for goes elsewhere. It stays so, also through restarts, until it is resumed.',
  params: ConsumerParams,
  query: NoQuery,
  success: { kind: 'json', schema: ConsumerDetails, description: 'It takes nothing any more.' },
  errors: [...errors, 'NOT_FOUND', 'DUPLICATE_PARAMETER'],
  access: 'operate',
  object: 'consumer',
  callers: ['public-api', 'operator'],
});

export const resumeConsumer = defineRoute({
  operationId: 'resumeConsumer',
  method: 'POST',
  path: '/api/consumers/:consumer_id/resume',
  tag: 'consumers',
  summary: 'Give a drained consumer tasks again',
  params: ConsumerParams,
  query: NoQuery,
  success: { kind: 'json', schema: ConsumerDetails, description: 'It takes tasks again.' },
  errors: [...errors, 'NOT_FOUND', 'DUPLICATE_PARAMETER'],
  access: 'operate',
  object: 'consumer',
  callers: ['public-api', 'operator'],
});

export const findUnusedModelVersions = defineRoute({
  operationId: 'findUnusedModelVersions',
  method: 'POST',
  path: '/internal/consumers/:consumer_id/model-versions/unused',
  tag: 'consumers',
  summary: 'Ask which model versions are of no use any more',
  description:
    'Of use is the current version of a model that is not deleted, and a version that a task which has not ended is bound to. A consumer removes the volumes of the others from its engine.',
  params: ConsumerParams,
  body: { kind: 'json', schema: ModelVersionIds },
  success: { kind: 'json', schema: UnusedModelVersions, description: 'Those of no use.' },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'],
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});

export const findGoneConsumers = defineRoute({
  operationId: 'findGoneConsumers',
  method: 'POST',
  path: '/internal/consumers/:consumer_id/neighbours/gone',
  tag: 'consumers',
  summary: 'Ask which consumers are gone for good',
  description:
    'Gone is one that has signed off, or was not heard of for CONSUMER_GONE_AFTER_S, and has no attempt that is open or that it could still resume. A consumer that has listed what these left in its engine removes it after this was answered.',
  params: ConsumerParams,
  body: { kind: 'json', schema: ConsumerIds },
  success: { kind: 'json', schema: GoneConsumers, description: 'Those that are gone.' },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'],
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});
