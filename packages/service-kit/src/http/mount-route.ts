import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  preHandlerAsyncHookHandler,
} from 'fastify';
import {
  spellBooleans,
  type AnswerOf,
  type BodyOf,
  type HeadersOf,
  type ParamsOf,
  type QueryOf,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { holdClose } from './closing.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    contract?: RouteContract;
  }
}

export interface RouteRequest<Contract extends RouteContract> {
  params: ParamsOf<Contract>;
  query: QueryOf<Contract>;
  /** Those that the contract names; of a header that it does not name, nothing is said. */
  headers: HeadersOf<Contract>;
  /** Parsed JSON; undefined for an upload, which is read from `http`. */
  body: BodyOf<Contract>;
  http: FastifyRequest;
}

/**
 * Serves a contract: what reaches `handler` has been validated against it, what the handler returns
 * is sent as the contract's success. A zip or text answer is sent by the handler through `reply`.
 */
export function mountRoute<Contract extends RouteContract>(
  app: FastifyInstance,
  contract: Contract,
  handler: (
    request: RouteRequest<Contract>,
    reply: FastifyReply,
  ) => Promise<AnswerOf<Contract> | FastifyReply>,
  hooks: { preHandler?: preHandlerAsyncHookHandler } = {},
): void {
  const { query, success } = contract;
  app.route({
    method: contract.method,
    url: contract.path,
    config: { contract },
    schema: {
      ...(contract.params === undefined ? {} : { params: contract.params }),
      ...(query === undefined ? {} : { querystring: query }),
      ...(contract.headers === undefined ? {} : { headers: contract.headers }),
      ...(contract.body?.kind === 'json' ? { body: contract.body.schema } : {}),
    },
    preValidation: async (request) => {
      if (query === undefined) return;
      request.query = spellBooleans(query, request.query as Record<string, unknown>);
    },
    ...hooks,
    handler: async (request, reply) => {
      const asked = {
        params: request.params as ParamsOf<Contract>,
        query: request.query as QueryOf<Contract>,
        headers: request.headers as HeadersOf<Contract>,
        body: request.body as BodyOf<Contract>,
        http: request,
      };
      const answer = await holdClose(app, handler(asked, reply));
      if (success.kind !== 'json' || reply.sent || (answer as unknown) === reply) return reply;
      return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer));
    },
  });
}

/** A signal that aborts when the client goes away before the answer is complete. */
export function abortedByClient(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const onClose = () => {
    if (!reply.raw.writableFinished) controller.abort(clientGone());
  };
  // It may have gone before anybody asked.
  if (reply.raw.closed) onClose();
  else reply.raw.once('close', onClose);
  return controller.signal;
}

/** No fault of the server, and nobody is there to be told. */
function clientGone(): AppError {
  return new AppError('MALFORMED_REQUEST', 'The client went away.');
}
