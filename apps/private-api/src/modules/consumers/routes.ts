import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { callerOf } from '../../http/authorization.js';
import type { ConsumerService } from './service.js';

export function mountConsumerRoutes(app: FastifyInstance, consumers: ConsumerService): void {
  mountRoute(app, routes.registerConsumer, ({ params, body }) =>
    consumers.register(params.consumer_id, body),
  );
  mountRoute(app, routes.signOffConsumer, ({ params, query }) =>
    consumers.signOff(params.consumer_id, query.holder),
  );
  mountRoute(app, routes.listHeldAttempts, ({ params }) =>
    consumers.heldAttempts(params.consumer_id),
  );
  mountRoute(app, routes.findGoneConsumers, ({ body }) => consumers.findGone(body.consumer_ids));
  mountRoute(app, routes.listConsumers, () => consumers.list());
  mountRoute(app, routes.drainConsumer, ({ params, http }) =>
    consumers.drain(params.consumer_id, callerOf(http)),
  );
  mountRoute(app, routes.resumeConsumer, ({ params, http }) =>
    consumers.resume(params.consumer_id, callerOf(http)),
  );
}
