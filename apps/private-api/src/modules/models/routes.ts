import { routes } from '@inference-server/contracts';
import { abortedByClient, mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { zipUploadOf } from '../../http/zip-upload.js';
import type { ModelService } from './service.js';

export function mountModelRoutes(app: FastifyInstance, models: ModelService): void {
  mountRoute(app, routes.postModel, ({ query, http }, reply) =>
    models.register(query, zipUploadOf(http), abortedByClient(reply)),
  );
  mountRoute(app, routes.putModel, ({ params, query, http }, reply) =>
    models.put({ ...params, ...query }, zipUploadOf(http), abortedByClient(reply)),
  );
  mountRoute(app, routes.getModel, ({ params }) => models.get(params.human_readable_id));
  mountRoute(app, routes.deleteModel, async ({ params }) => {
    await models.delete(params.human_readable_id);
    return { detail: 'The model is deleted.' };
  });
  mountRoute(app, routes.listModels, () => models.list());
  mountRoute(app, routes.findUnusedModelVersions, ({ body }) =>
    models.unusedVersions(body.model_version_ids),
  );
}
