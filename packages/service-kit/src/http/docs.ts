import swagger, { type StaticDocumentSpec } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { refuseOtherMethodsAt } from './methods.js';
import { contentPolicyOfDocs } from './security-headers.js';

/** Serves an OpenAPI document: the page at /docs, the JSON at /openapi.json. */
export async function serveDocs(
  app: FastifyInstance,
  document: Record<string, unknown>,
): Promise<void> {
  await app.register(swagger, {
    mode: 'static',
    specification: { document: document as never as StaticDocumentSpec['document'] },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: contentPolicyOfDocs,
    uiConfig: {
      // Without the bar on top: it offers other documents to explore, and there is one. Its logo has a
      // style in it, which the policy refuses.
      layout: 'BaseLayout',
      docExpansion: 'list',
      tryItOutEnabled: true,
      validatorUrl: null,
    },
  });
  app.get('/openapi.json', async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(document)),
  );
  for (const url of ['/openapi.json', '/docs', '/docs/*']) refuseOtherMethodsAt(app, url, ['GET']);
}
