import type { FastifyInstance, FastifyRequest } from 'fastify';
import { oipLengthHeader, type RouteContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  carriesBody,
  discardBody,
  keepUploadPace,
  type UploadPace,
} from '@inference-server/service-kit';
import { tooLarge } from '../request-body.js';

/** A form around a zip of exactly the limit is let through, also with the contract of a model. */
const formBytes = 128 * 1024;

const jsonBytes = 64 * 1024;

export interface BodyLimits {
  maxUploadBytes: number;
  /** Of a call of a runtime model. */
  maxJsonBytes: number;
}

/**
 * Bounds what a caller may send. Headers are bounded by the server itself; a body's declared length
 * here, its real one by whoever takes it, both with {@link bodyLimit}, and how slowly it may come.
 */
export function limitRequests(
  app: FastifyInstance,
  { uploadPace, ...limits }: BodyLimits & { uploadPace: UploadPace },
): void {
  keepUploadPace(app, uploadPace);
  // No body is read before a route takes it, and none is parsed.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));

  app.addHook('onRequest', async (request) => {
    const { contract } = request.routeOptions.config;
    if (contract === undefined || !carriesBody(request.raw)) return;
    if (contract.body === undefined) {
      throw new AppError('MALFORMED_REQUEST', 'This route takes no body.');
    }
    const maxBytes = bodyLimit(request, contract, limits);
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  });

  app.addHook('onSend', async (request) => {
    if (request.body === undefined && carriesBody(request.raw)) discardBody(request.raw);
  });
}

/** The longest body that this request may have (bytes). */
export function bodyLimit(
  request: FastifyRequest,
  { body, servedBy }: RouteContract,
  { maxUploadBytes, maxJsonBytes }: BodyLimits,
): number {
  if (servedBy === 'rpc-gateway') {
    // Bytes behind JSON are bounded by who holds them.
    const hasBytes = body?.kind === 'json' && body.hasBytes === true;
    return hasBytes && oipLengthHeader in request.headers ? maxUploadBytes : maxJsonBytes;
  }
  if (body?.kind === 'json') return jsonBytes;
  const isForm = /^multipart\//i.test(request.headers['content-type'] ?? '');
  return maxUploadBytes + (isForm ? formBytes : 0);
}
