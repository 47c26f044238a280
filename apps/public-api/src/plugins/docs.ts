import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Value from 'typebox/value';
import type { Agent } from 'undici';
import { openApiDocument, publicRoutes, routes, type Model } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { serveDocs } from '@inference-server/service-kit';
import { requestHeaders } from '../relay-headers.js';
import { withRuntimeModels } from '../runtime-models.js';
import type { CallerCheck } from './auth.js';

interface DocsOptions {
  privateApiUrl: string;
  privateApiToken: string;
  upstream: Agent;
  checkCaller: CallerCheck;
}

/**
 * The page at /docs and the document at /openapi.json: the contracts' words, and for who may list the models what
 * each runtime model takes and gives.
 */
export async function servePublicDocs(app: FastifyInstance, options: DocsOptions): Promise<void> {
  const document = publicOpenApiDocument();
  await serveDocs(app, document, async (request, reply) =>
    withRuntimeModels(document, await modelsFor(request, reply, options)),
  );
}

/** Those that the list of models has for who asks; none where that is refused, or cannot be had now. */
async function modelsFor(
  request: FastifyRequest,
  reply: FastifyReply,
  { privateApiUrl, privateApiToken, upstream, checkCaller }: DocsOptions,
): Promise<Model[]> {
  const { method, path, success } = routes.listModels;
  try {
    const caller = await checkCaller(request, reply, routes.listModels);
    const { statusCode, body } = await upstream.request({
      ...{ origin: privateApiUrl, method, path },
      headers: requestHeaders({}, privateApiToken, caller),
      signal: AbortSignal.timeout(askedForMs),
    });
    const answer: unknown = await body.json();
    return statusCode === 200 && Value.Check(success.schema, answer) ? answer : [];
  } catch (error) {
    request.log.debug({ reason: messageOf(error) }, 'no models in the documentation');
    return [];
  }
}

const askedForMs = 5_000;

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
