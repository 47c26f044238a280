import swagger, { type StaticDocumentSpec } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { refuseOtherMethodsAt } from './methods.js';
import { contentPolicyOfDocs } from './security-headers.js';

/**
 * Serves an OpenAPI document: the page at /docs, the JSON at /openapi.json. `documentFor`: what a caller is
 * shown in its place.
 */
export async function serveDocs(
  app: FastifyInstance,
  document: Record<string, unknown>,
  documentFor: (
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<Record<string, unknown>> = () => Promise.resolve(document),
): Promise<void> {
  const send = async (request: FastifyRequest, reply: FastifyReply) =>
    reply.type(json).send(JSON.stringify(await documentFor(request, reply)));
  await app.register(swagger, {
    mode: 'static',
    specification: { document: document as never as StaticDocumentSpec['document'] },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: contentPolicyOfDocs,
    uiHooks: {
      // What the page loads, which would be the one document for everybody.
      preHandler: (request, reply, next) => {
        if (request.routeOptions.url !== '/docs/json') next();
        else send(request, reply).catch((error: unknown) => next(error as Error));
      },
    },
    uiConfig: {
      // Without the bar on top: it offers other documents to explore, and there is one. Its logo has a
      // style in it, which the policy refuses.
      layout: 'BaseLayout',
      docExpansion: 'list',
      tryItOutEnabled: true,
      validatorUrl: null,
    },
  });
  app.get('/openapi.json', send);
  for (const url of ['/openapi.json', '/docs', '/docs/*']) refuseOtherMethodsAt(app, url, ['GET']);
}

const json = 'application/json; charset=utf-8';
