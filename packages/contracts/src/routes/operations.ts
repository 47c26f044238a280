import { defineRoute } from '../route.js';
import { Greeting, Liveness, Readiness } from '../schemas/health.js';

export const greet = defineRoute({
  operationId: 'greet',
  method: 'GET',
  path: '/',
  tag: 'operations',
  summary: 'Greet',
  success: { kind: 'json', schema: Greeting, description: 'The server answers.' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
});

/** Each process answers for itself: not relayed. */
export const getHealth = defineRoute({
  operationId: 'getHealth',
  method: 'GET',
  path: '/healthz',
  tag: 'operations',
  summary: 'Whether this process is alive',
  success: { kind: 'json', schema: Liveness, description: 'It is.' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
});

/** Each process answers for itself: not relayed. */
export const getReadiness = defineRoute({
  operationId: 'getReadiness',
  method: 'GET',
  path: '/readyz',
  tag: 'operations',
  summary: 'Whether the parts that this process needs are there',
  description:
    '`degraded`: posts are accepted, and wait for the part that is down. With 503: `down`.',
  success: { kind: 'json', schema: Readiness, description: 'It can serve.' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
});
