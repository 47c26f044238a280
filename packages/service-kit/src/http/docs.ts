import swagger, { type StaticDocumentSpec } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { refuseOtherMethodsAt } from './methods.js';

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
    // The bar on top offers other documents to explore; there is one.
    theme: { css: [{ filename: 'theme.css', content: '.swagger-ui .topbar { display: none }' }] },
    uiConfig: { docExpansion: 'list', tryItOutEnabled: true, validatorUrl: null },
  });
  app.get('/openapi.json', async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(document)),
  );
  for (const url of ['/openapi.json', '/docs', '/docs/*']) refuseOtherMethodsAt(app, url, ['GET']);
}
