import type { FastifyInstance } from 'fastify';
import { openApiDocument, publicRoutes } from '@inference-server/contracts';
import { serveDocs } from '@inference-server/service-kit';

/** The page at /docs and the document at /openapi.json: the contracts' words, nothing of its own. */
export async function servePublicDocs(app: FastifyInstance): Promise<void> {
  await serveDocs(app, publicOpenApiDocument());
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
