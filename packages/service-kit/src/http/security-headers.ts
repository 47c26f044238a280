import type { FastifyInstance } from 'fastify';

/**
 * What every answer tells a browser: it is what its content type says, it loads and runs nothing, no page
 * frames it, no page of another site embeds it or shares a window with it, and the address that it came from
 * is told to nobody. A constant table, because also the answers that are written past Fastify carry it. HSTS
 * is said by whoever speaks TLS.
 */
export const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'content-security-policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

/** What holds data of a caller, or says that there are none, is kept nowhere on its way. */
export const notStored = { 'cache-control': 'no-store' };

/** A page of the documentation: files and calls of this server alone, no script or style in its text. */
export const contentPolicyOfDocs = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

/** Gives every answer of `app` these headers; who has another policy sets it in a hook of its own. */
export function tellBrowsers(app: FastifyInstance): void {
  app.addHook('onSend', async (_request, reply) => {
    reply.headers(securityHeaders);
    if (!reply.hasHeader('cache-control')) reply.headers(notStored);
  });
}
