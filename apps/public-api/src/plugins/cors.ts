import cors from '@fastify/cors';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { oipLengthHeader, publicRoutes } from '@inference-server/contracts';
import { passedOn } from '../relay-headers.js';

/** How long a browser need not ask again (s). */
const askedAgainAfterS = 600;

/** What a page may read of an answer beyond what browsers show by themselves. */
const exposedHeaders = [
  ...['accept-ranges', 'content-disposition', 'content-range', 'etag', 'retry-after'],
  oipLengthHeader,
  ...['ratelimit', 'ratelimit-policy', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset'],
];

/**
 * Lets pages of these origins read answers and send keys; of no origin, unless it is named. Credentials in
 * the sense of browsers (cookies) are never let through: there are none. Call it before whatever refuses
 * requests, so that a refusal too can be read, and a question without a key (a preflight) is answered.
 */
export async function allowOrigins(
  app: FastifyInstance,
  origins: readonly string[],
): Promise<void> {
  if (origins.length === 0) return;
  const methods = [...new Set(['HEAD', ...publicRoutes.map(({ method }) => method)])];
  const shared = {
    origin: [...origins],
    methods,
    allowedHeaders: ['authorization', 'x-token', ...passedOn],
    exposedHeaders,
    maxAge: askedAgainAfterS,
  };
  await app.register(cors, {
    // Another origin, and an OPTIONS that is no preflight, get the answer that they would get without CORS.
    delegator: async ({ headers: { origin = '', ...headers } }: FastifyRequest) => ({
      ...shared,
      origin: origins.includes(origin) && shared.origin,
      preflight: headers['access-control-request-method'] !== undefined,
    }),
  });
}
