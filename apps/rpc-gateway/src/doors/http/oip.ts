import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { oipLengthHeader, routes, type RouteContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError } from '@inference-server/grpc';
import {
  inferRequestFromJson,
  inferResponseAsJson,
  type InferRequest,
} from '@inference-server/protos';
import type { Target } from '../../core/call-queue.js';
import type { AnyModel } from '../../core/hosted-models.js';
import { infer } from '../../core/infer-call.js';
import type { Predictor } from '../../core/predictor.js';
import { describeModel, oipServer } from '../oip-models.js';
import { readBody, tooLarge } from './body.js';
import { answerTooLarge, boundsOf, callerOf, relayedHooks, type RelayedOptions } from './relay.js';

/** A body, its tensors, and the request that is made of them. */
const timesHeld = 3;
/** An answer and the bytes that are made of it, once by themselves; as JSON each may be a number of several digits. */
const answerTimesHeld = { binary: 4, json: 8 };

interface OipOptions extends RelayedOptions {
  predictor: Predictor;
  maxJsonBytes: number;
  maxMessageBytes: number;
}

/** The Open Inference Protocol, version 2, for public-api alone, as predict is: JSON, and bytes behind it. */
export function mountOip(app: FastifyInstance, options: OipOptions): void {
  const { predictor, maxJsonBytes, maxMessageBytes } = options;
  const hooks = relayedHooks(options);
  const mount = (
    contract: RouteContract,
    handler: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>,
  ) => {
    const { method, path: url, params, query, headers } = contract;
    app.route({
      ...{ method, url, config: { contract }, ...hooks, handler },
      schema: {
        ...(params && { params }),
        ...(query && { querystring: query }),
        ...(headers && { headers }),
      },
    });
  };
  const mountOfModel = (contracts: readonly RouteContract[], tell: (model: AnyModel) => object) => {
    for (const contract of contracts) {
      mount(contract, async (request, reply) => {
        const { signal } = boundsOf(request);
        return sendJson(reply, tell(await predictor.modelFor(targetOf(request), signal)));
      });
    }
  };

  app.removeAllContentTypeParsers();
  // Clients name any type, or none.
  app.addContentTypeParser('*', (request: FastifyRequest) => {
    const { signal, take } = boundsOf(request);
    const jsonBytes = Number(request.headers[oipLengthHeader]);
    return readBody(request, {
      ...{ signal, maxBytes: jsonBytes <= maxJsonBytes ? maxMessageBytes : maxJsonBytes },
      take: (bytes) => take(timesHeld * bytes, tooLarge),
    });
  });

  mount(routes.oipServerMetadata, async (_request, reply) => sendJson(reply, oipServer));
  mountOfModel([routes.oipModelReady, routes.oipModelVersionReady], (model) => {
    const trouble = predictor.troubleOf(model.model_version_id);
    if (trouble === undefined) return { name: model.human_readable_id, ready: true };
    const text = `The model has no replica yet: ${trouble}`;
    throw new AppError('SERVICE_UNAVAILABLE', text, { retryAfterS: 10 });
  });
  mountOfModel([routes.oipModelMetadata, routes.oipModelVersionMetadata], (model) =>
    describeModel(predictor, model),
  );
  for (const contract of [routes.oipModelInfer, routes.oipModelVersionInfer]) {
    mount(contract, (request, reply) => answerInfer(request, reply, predictor));
  }
}

function targetOf({ params }: FastifyRequest): Target {
  const { human_readable_id: name, version } = params as {
    human_readable_id: string;
    version?: number;
  };
  return { name, version };
}

async function answerInfer(
  request: FastifyRequest,
  reply: FastifyReply,
  predictor: Predictor,
): Promise<FastifyReply> {
  const { body } = request;
  if (body instanceof AppError) throw body;
  if (!Buffer.isBuffer(body)) throw new AppError('MALFORMED_REQUEST', 'The body is no JSON.');
  const { deadlineAt, signal, take, takeInAll } = boundsOf(request);
  // Checked against the contract, and made a number by that.
  const jsonLength = request.headers[oipLengthHeader] as number | undefined;
  try {
    const { head, outputs } = await infer(predictor, {
      ...{ target: targetOf(request), caller: callerOf(request), deadlineAt, signal },
      read: (inputs) => inferRequestFromJson({ inputs }, body, jsonLength),
      holdRequest: (bytes) => takeInAll(body.length + 2 * bytes, tooLarge),
      holdAnswer: (bytes, asked) => take(timesAnswerHeld(asked) * bytes, answerTooLarge),
    });
    return await sendPieces(reply, inferResponseAsJson(head, outputs));
  } catch (error) {
    throw asOfRequest(error);
  }
}

function timesAnswerHeld({ outputs, isBinary }: InferRequest): number {
  const isAllBinary = outputs.length === 0 ? isBinary : outputs.every((one) => one.isBinary);
  return answerTimesHeld[isAllBinary ? 'binary' : 'json'];
}

function sendJson(reply: FastifyReply, answer: object): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer));
}

function sendPieces(
  reply: FastifyReply,
  { pieces, jsonLength }: ReturnType<typeof inferResponseAsJson>,
): FastifyReply {
  if (jsonLength === undefined) reply.type('application/json; charset=utf-8');
  else reply.type('application/octet-stream').header(oipLengthHeader, jsonLength);
  return reply.send(Buffer.concat(pieces));
}

/** A model that rejects its input says that the request is bad, not the model. */
function asOfRequest(error: unknown): unknown {
  const isOfModel = error instanceof AppError && error.code === 'MODEL_ERROR';
  const status = isOfModel && error.cause instanceof GrpcError ? error.cause.status : undefined;
  if (!isOfModel || status !== 'INVALID_ARGUMENT') return error;
  return new AppError('VALIDATION_FAILED', error.message, { cause: error });
}
