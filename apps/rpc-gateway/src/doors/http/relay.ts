import { timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  callerHeader,
  includesRole,
  readCaller,
  type CallerIdentity,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import { boundRequest, type RequestBounds } from './body.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** From its head on. */
    bounds?: RequestBounds;
    /** Of public-api: for whom it is. */
    caller?: CallerIdentity;
  }
}

export interface RelayedOptions {
  relayToken: string | undefined;
  budget: ByteBudget;
  maxQueuedBytes: number;
  maxCallMs: number;
}

/** What begins each route that is for public-api alone: it says whom it acts for, and has checked what they may. */
export function relayedHooks({ relayToken, ...bounds }: RelayedOptions) {
  return {
    onRequest: async (request: FastifyRequest) => {
      request.caller = requireRelay(request, relayToken);
    },
    preParsing: async <Payload>(
      request: FastifyRequest,
      reply: FastifyReply,
      payload: Payload,
    ): Promise<Payload> => {
      request.bounds = boundRequest(reply, bounds);
      return payload;
    },
  };
}

export function boundsOf({ bounds }: FastifyRequest): RequestBounds {
  if (bounds === undefined) throw new Error('a request was not bounded');
  return bounds;
}

export function callerOf({ caller }: FastifyRequest): CallerIdentity {
  if (caller === undefined) throw new Error('a request is for nobody');
  return caller;
}

/** Of what does not even fit where nothing else is. */
export function answerTooLarge(): AppError {
  return new AppError('MODEL_ERROR', "The model's answer is larger than the server ever holds.");
}

function requireRelay({ headers }: FastifyRequest, token: string | undefined): CallerIdentity {
  const shown = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
  if (token === undefined || !isEqual(shown, token)) {
    throw new AppError('UNAUTHORIZED', 'This door is for public-api alone.');
  }
  const stated = headers[callerHeader];
  const caller = typeof stated === 'string' ? readCaller(stated) : undefined;
  if (caller === undefined) {
    throw new AppError('MALFORMED_REQUEST', 'It is not said for whom this is.');
  }
  if (!includesRole(caller.role, 'submit')) {
    throw new AppError('FORBIDDEN', 'This needs the role submit.');
  }
  return caller;
}

/** In constant time for tokens of one length; the length of a token is no secret. */
function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
