import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  routes,
  type CallerIdentity,
  type ParamsOf,
  type QueryOf,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  jsonFromPredictResponse,
  jsonOfValues,
  predictRequestFromJson,
  valuesOfJson,
} from '@inference-server/protos';
import { predictPlain, type PlainAnswer } from '../../core/plain-call.js';
import type { Predictor } from '../../core/predictor.js';
import { readBody, tooLarge } from './body.js';
import { answerTooLarge, boundsOf, callerOf, relayedHooks, type RelayedOptions } from './relay.js';

/** JSON, and what it is read into. The tensors that are made of it may be larger: then they take what they are. */
const timesHeld = 3;
/** The tensors of an answer, their values and the text of these: a byte may be a number of several digits. */
const answerTimesHeld = 8;

/** `predict` as JSON, for public-api alone: it says whom it acts for, and has checked what they may. */
export function mountPredict(
  app: FastifyInstance,
  {
    predictor,
    maxJsonBytes,
    ...relayed
  }: RelayedOptions & { predictor: Predictor; maxJsonBytes: number },
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
    ...relayedHooks(relayed),
    handler: async (request, reply) => {
      const { body } = request;
      if (body instanceof AppError) throw body;
      if (!Buffer.isBuffer(body)) {
        throw new AppError('MALFORMED_REQUEST', 'The body is no JSON.');
      }
      const { model, message, outputs } = await ask(request, callerOf(request), body);
      return reply
        .type('application/json; charset=utf-8')
        .send(outputs ? jsonOfValues(outputs) : jsonFromPredictResponse(model.contract, message));
    },
  });
}
