import type { FastifyInstance } from 'fastify';
import { routes, type Readiness } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { ServingState } from '../grpc/health.js';

/**
 * Whether the process is up, and whether it takes calls: from its first news of models on. Without fresh ones it
 * goes on by the last.
 */
export function answerHealth(
  app: FastifyInstance,
  state: ServingState,
  hasFreshNews: () => boolean,
): void {
  mountRoute(app, routes.getHealth, () => Promise.resolve({ status: 'up' }));
  mountRoute(app, routes.getReadiness, async (_request, reply) => {
    if (!state.isServing()) reply.code(503).header('retry-after', 2);
    return readinessOf(state, hasFreshNews());
  });
}

function readinessOf(state: ServingState, hasFreshNews: boolean): Readiness {
  if (!state.isServing()) return { status: 'down', checks: { private_api: 'down' } };
  return hasFreshNews
    ? { status: 'ready', checks: { private_api: 'up' } }
    : { status: 'degraded', checks: { private_api: 'down' } };
}
