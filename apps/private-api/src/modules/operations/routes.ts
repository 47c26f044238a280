import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import type { OperationsService } from './service.js';

export function mountOperationsRoutes(app: FastifyInstance, operations: OperationsService): void {
  mountRoute(app, routes.greet, () => operations.greeting());
  mountRoute(app, routes.getHealth, () => Promise.resolve({ status: 'up' as const }));
  mountRoute(app, routes.getReadiness, async (_request, reply) => {
    const readiness = await operations.readiness();
    if (readiness.status === 'down') reply.code(503).header('retry-after', 2);
    return readiness;
  });
}
