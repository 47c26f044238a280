import Type from 'typebox';
import { defineRoute } from '../route.js';
import {
  ConsumerRegistered,
  ConsumerRegistration,
  ModelVersionIds,
  UnusedModelVersions,
} from '../schemas/consumer.js';
import { ConsumerId } from '../schemas/names.js';

const ConsumerParams = Type.Object({ consumer_id: ConsumerId });
const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'CONFLICT'] as const;

export const registerConsumer = defineRoute({
  operationId: 'registerConsumer',
  method: 'PUT',
  path: '/internal/consumers/:consumer_id',
  tag: 'consumers',
  summary: 'Register a consumer, and keep it registered',
  description: 'Registration and heartbeat in one: repeated at the interval of the answer.',
  params: ConsumerParams,
  body: { kind: 'json', schema: ConsumerRegistration },
  success: { kind: 'json', schema: ConsumerRegistered, description: 'It is registered.' },
  errors,
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
  callers: ['consumer'],
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
  callers: ['consumer'],
});
