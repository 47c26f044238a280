import type { FastifyInstance, FastifyRequest } from 'fastify';
import { anonymousOwner, ownerHeader } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { verifyToken, type Principal } from '@inference-server/service-kit';

declare module 'fastify' {
  interface FastifyRequest {
    principal?: Principal;
  }
}

/**
 * Lets a request through when its route's contract names the kind of its token. A consumer's token
 * opens only what names that consumer.
 */
export function requireTokens(app: FastifyInstance, operatorToken: string): void {
  app.addHook('onRequest', async (request) => {
    const { contract } = request.routeOptions.config;
    // Pages and documents have no contract and are open; so is the answer to an unknown address.
    if (contract === undefined || contract.callers.includes('anyone')) return;
    const principal = verifyToken(operatorToken, bearerOf(request));
    if (principal === undefined) {
      throw new AppError('UNAUTHORIZED', 'A valid token is needed: Authorization: Bearer ….');
    }
    if (!contract.callers.includes(principal.kind)) {
      throw new AppError('FORBIDDEN', 'This token does not open this route.');
    }
    if (principal.kind !== 'public-api' && request.headers[ownerHeader] !== undefined) {
      throw new AppError('FORBIDDEN', 'Only public-api may say whom it acts for.');
    }
    request.principal = principal;
    const { consumer_id: consumerId } = request.params as { consumer_id?: string };
    const isStrange = principal.kind === 'consumer' && principal.consumerId !== consumerId;
    if (consumerId !== undefined && isStrange) {
      throw new AppError('FORBIDDEN', 'This token belongs to another consumer.');
    }
  });
}

/** The consumer whose token the request carries. */
export function consumerIdOf({ principal }: FastifyRequest): string {
  if (principal?.kind !== 'consumer') {
    throw new AppError('FORBIDDEN', "Only a consumer's token opens this route.");
  }
  return principal.consumerId;
}

/** Whose request it is: whom public-api names, or the operator. */
export function ownerOf({ headers, principal }: FastifyRequest): string {
  if (principal?.kind !== 'public-api') return principal?.kind ?? anonymousOwner;
  const owner = headers[ownerHeader] ?? anonymousOwner;
  if (typeof owner === 'string' && /^[\x20-\x7e]{1,200}$/.test(owner)) return owner;
  throw new AppError('VALIDATION_FAILED', `${ownerHeader} is out of form.`, {
    extensions: { parameter: ownerHeader },
  });
}

function bearerOf(request: FastifyRequest): string {
  return /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
}
