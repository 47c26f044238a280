import { timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  callerHeader,
  includesRole,
  readCaller,
  routes,
  type CallerIdentity,
  type ParamsOf,
  type QueryOf,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import {
  jsonFromPredictResponse,
  jsonOfValues,
  predictRequestFromJson,
  valuesOfJson,
} from '@inference-server/protos';
import { predictPlain, type PlainAnswer } from '../../core/plain-call.js';
import type { Predictor } from '../../core/predictor.js';
import { boundRequest, readBody, tooLarge, type RequestBounds } from './body.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** From its head on. */
    bounds?: RequestBounds;
    /** Of public-api: for whom it is. */
    caller?: CallerIdentity;
  }
}

/** JSON, and what it is read into. The tensors that are made of it may be larger: then they take what they are. */
const timesHeld = 3;
/** The tensors of an answer, their values and the text of these: a byte may be a number of several digits. */
const answerTimesHeld = 8;

/** `predict` as JSON, for public-api alone: it says whom it acts for, and has checked what they may. */
export function mountPredict(
  app: FastifyInstance,
  {
    predictor,
    relayToken,
    budget,
    maxQueuedBytes,
    maxJsonBytes,
    maxCallMs,
  }: {
    predictor: Predictor;
    relayToken: string | undefined;
    budget: ByteBudget;
    maxQueuedBytes: number;
    maxJsonBytes: number;
    maxCallMs: number;
  },
): void {
  const contract: RouteContract = routes.predict;
  app.removeAllContentTypeParsers();
  // As text: numbers of 64 bits would not survive the usual way.
  app.addContentTypeParser('application/json', (request: FastifyRequest) => {
    const { signal, take } = boundsOf(request);
    return readBody(request, {
      ...{ signal, maxBytes: maxJsonBytes },
      take: (bytes) => take(timesHeld * bytes, tooLarge),
    });
  });

  async function ask(
    request: FastifyRequest,
    caller: CallerIdentity,
    body: Buffer,
  ): Promise<PlainAnswer> {
    const { human_readable_id: name } = request.params as ParamsOf<typeof routes.predict>;
    const { version } = request.query as QueryOf<typeof routes.predict>;
    const { deadlineAt, signal, take, takeInAll } = boundsOf(request);
    return predictPlain(predictor, {
      ...{ target: { name, version }, caller, deadlineAt, signal },
      encode: (contract) => predictRequestFromJson(contract, body),
      values: () => valuesOfJson(body, 'The body'),
      holdRequest: (bytes) => takeInAll(body.length + bytes, tooLarge),
      hold: (bytes) => take(answerTimesHeld * bytes, answerTooLarge),
    });
  }

  app.route({
    method: contract.method,
    url: contract.path,
    config: { contract },
    schema: { params: routes.predict.params, querystring: routes.predict.query },
    onRequest: async (request) => {
      request.caller = requireRelay(request, relayToken);
    },
    preParsing: async (request, reply, payload) => {
      request.bounds = boundRequest(reply, { budget, maxQueuedBytes, maxCallMs });
      return payload;
    },
    handler: async (request, reply) => {
      const { body, caller } = request;
      if (caller === undefined) throw new Error('a request is for nobody');
      if (body instanceof AppError) throw body;
      if (!Buffer.isBuffer(body)) {
        throw new AppError('MALFORMED_REQUEST', 'The body is no JSON.');
      }
      const { model, message, outputs } = await ask(request, caller, body);
      return reply
        .type('application/json; charset=utf-8')
        .send(outputs ? jsonOfValues(outputs) : jsonFromPredictResponse(model.contract, message));
    },
  });
}

function boundsOf({ bounds }: FastifyRequest): RequestBounds {
  if (bounds === undefined) throw new Error('a request was not bounded');
  return bounds;
}

function answerTooLarge(): AppError {
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
  if (!includesRole(caller.role, routes.predict.access)) {
    throw new AppError('FORBIDDEN', 'This needs the role submit.');
  }
  return caller;
}

/** In constant time for tokens of one length; the length of a token is no secret. */
function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
