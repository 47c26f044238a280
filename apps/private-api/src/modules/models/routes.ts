import { routes } from '@inference-server/contracts';
import { abortedByClient, mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { callerOf, ownerFilterOf } from '../../http/authorization.js';
import { declaredBytesOf, zipUploadOf } from '../../http/zip-upload.js';
import type { ModelPost, ModelService } from './service.js';

export function mountModelRoutes(app: FastifyInstance, models: ModelService): void {
  mountRoute(app, routes.postModel, ({ query, http }, reply) =>
    models.register(query, publisherOf(http), zipUploadOf(http), abortedByClient(reply)),
  );
  mountRoute(app, routes.putModel, ({ params, query, http }, reply) =>
    models.put(
      { ...params, ...query },
      publisherOf(http),
      zipUploadOf(http),
      abortedByClient(reply),
    ),
  );
  mountRoute(app, routes.getModel, ({ params }) => models.get(params.human_readable_id));
  mountRoute(app, routes.deleteModel, async ({ params, http }) => {
    await models.delete(params.human_readable_id, publisherOf(http));
    return { detail: 'The model is deleted.' };
  });
  mountRoute(app, routes.listModels, () => models.list());
  mountRoute(app, routes.findUnusedModelVersions, ({ body }) =>
    models.unusedVersions(body.model_version_ids),
  );
}

function publisherOf(http: FastifyRequest): ModelPost {
  return {
    by: callerOf(http),
    onlyOf: ownerFilterOf(http),
    declaredBytes: declaredBytesOf(http),
  };
}
