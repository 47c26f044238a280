import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AppError } from '@inference-server/errors';
import { carriesBody, discardBody, tooLarge } from '../request-body.js';

/** A form around a zip of exactly the limit is let through. */
const formBytes = 64 * 1024;

/**
 * Bounds what a caller may send. The size of the headers is bounded by Node (16 KiB); a body's
 * declared length here, its real one by whoever takes it, both with {@link bodyLimit}.
 */
export function limitRequests(
  app: FastifyInstance,
  { maxUploadBytes }: { maxUploadBytes: number },
): void {
  // No body is read before a route takes it, and none is parsed.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));

  app.addHook('onRequest', async (request) => {
    const { contract } = request.routeOptions.config;
    if (contract === undefined || !carriesBody(request.raw)) return;
    if (contract.body === undefined) {
      throw new AppError('MALFORMED_REQUEST', 'This route takes no body.');
    }
    const maxBytes = bodyLimit(request, maxUploadBytes);
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  });

  app.addHook('onSend', async (request) => {
    if (request.body === undefined && carriesBody(request.raw)) discardBody(request.raw);
  });
}

/** The longest body that this request may have (bytes). */
export function bodyLimit(request: FastifyRequest, maxUploadBytes: number): number {
  const isForm = request.headers['content-type']?.startsWith('multipart/') ?? false;
  return maxUploadBytes + (isForm ? formBytes : 0);
}
