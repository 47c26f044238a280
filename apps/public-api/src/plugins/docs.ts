import type { FastifyInstance, FastifyRequest } from 'fastify';
import { openApiDocument, publicRoutes, routes, type Model } from '@inference-server/contracts';
import { serveDocs } from '@inference-server/service-kit';
import { withRuntimeModels } from '../runtime-models.js';

/**
 * The page at /docs and the document at /openapi.json: the contracts' words, and for who may list the models what
 * each runtime model takes and gives.
 */
export async function servePublicDocs(app: FastifyInstance): Promise<void> {
  const document = publicOpenApiDocument();
  await serveDocs(app, document, async (request) =>
    withRuntimeModels(document, await modelsFor(app, request)),
  );
}

/** Those that the list of models has for who asks; none where that is refused, or cannot be had now. */
async function modelsFor(app: FastifyInstance, request: FastifyRequest): Promise<Model[]> {
  // Asked as the caller, from where the caller asks: whatever holds for that route holds here.
  const answer = await app.inject({
    method: routes.listModels.method,
    url: routes.listModels.path,
    remoteAddress: request.socket.remoteAddress ?? '',
    headers: withoutBody(request.headers),
  });
  return answer.statusCode === 200 ? answer.json<Model[]>() : [];
}

function withoutBody(headers: FastifyRequest['headers']): Record<string, string | string[]> {
  const others = Object.entries(headers).filter(
    ([name, value]) => value !== undefined && !/^(?:content-|transfer-|expect$|if-)/.test(name),
  );
  return Object.fromEntries(others) as Record<string, string | string[]>;
}

/** The OpenAPI 3.1 document of the public API. */
export function publicOpenApiDocument(): Record<string, unknown> {
  return openApiDocument(
    publicRoutes,
    {
      title: 'InferenceServer',
      description:
        'Post a zip, get a zip back. `POST /api/models/` puts a container image under a name; `POST /api/tasks/` runs it once on a zip; `GET /api/tasks/{uid}` answers with the result, or tells under 551 that it is not there yet. Every GET answers HEAD too. To callers from other machines every answer tells, in `RateLimit-Policy` and `RateLimit`, how much they may ask for, and what is left of it.',
      version: '1.0.0',
    },
    { isLimited: true },
  );
}
