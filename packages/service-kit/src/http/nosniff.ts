import type { FastifyInstance } from 'fastify';

/** No browser takes an answer for something else than its content type says. */
export const noSniffing = { 'x-content-type-options': 'nosniff' };

export function forbidSniffing(app: FastifyInstance): void {
  app.addHook('onSend', async (_request, reply) => {
    reply.headers(noSniffing);
  });
}
