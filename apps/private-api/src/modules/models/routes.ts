import { routes } from '@inference-server/contracts';
import { abortedByClient, mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { zipUploadOf } from '../../http/zip-upload.js';
import type { ModelService } from './service.js';

export function mountModelRoutes(app: FastifyInstance, models: ModelService): void {
  mountRoute(app, routes.postModel, ({ query, http }, reply) =>
    models.register(query, zipUploadOf(http), abortedByClient(reply)),
  );
  mountRoute(app, routes.listModels, () => models.list());
}
