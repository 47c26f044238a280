import { AsyncLocalStorage } from 'node:async_hooks';
import replyFrom from '@fastify/reply-from';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Agent, Dispatcher } from 'undici';
import { publicRoutes, type RouteContract } from '@inference-server/contracts';
import { AppError, systemCode, toAppError } from '@inference-server/errors';
import { abortedByClient, carriesBody, cutWhenStalled } from '@inference-server/service-kit';
import { answerHeaders, requestHeaders } from '../relay-headers.js';
import { takeBody } from '../request-body.js';
import { bodyLimit, type BodyLimits } from './limits.js';

interface RelayOptions extends BodyLimits {
  privateApiUrl: string;
  privateApiToken: string;
  /** Who serves the calls of runtime models; undefined: nobody. */
  gateway: { url: string; token: string } | undefined;
  upstream: Agent;
  /** Aborts when this process stops. */
  stopping: AbortSignal;
  /** How long a caller may take no byte of an answer (ms). */
  stalledMs?: number;
}

/** Beyond the time that a route is held on purpose, private-api gets this long to answer. */
const answerWithinMs = 60_000;

/**
 * Relays the allow-list, one route each, to private-api, or to who serves it: both bodies as streams, the
 * answer as it is. The end of either side ends the other.
 */
export async function relayRoutes(app: FastifyInstance, options: RelayOptions): Promise<void> {
  const { upstream, stopping, stalledMs } = options;
  // What reply-from cannot say of a single request: when its caller is gone, how long it may take.
  const perRequest = new AsyncLocalStorage<Partial<Dispatcher.RequestOptions>>();
  await app.register(replyFrom, {
    undici: {
      request: ((request: Dispatcher.RequestOptions, answer: never) =>
        upstream.request({ ...request, ...perRequest.getStore() }, answer)) as Agent['request'],
    },
    // A 503 is an answer; by default it is asked for again, up to ten times.
    retryMethods: [],
    disableRequestLogging: true,
  });

  for (const contract of publicRoutes.filter(isRelayed)) {
    app.route({
      method: contract.method,
      url: contract.path,
      config: { contract },
      // The rest is private-api's to check; a checked path cannot lead off the allow-list.
      schema: contract.params === undefined ? {} : { params: contract.params },
      handler: (request, reply) => {
        const { caller, revoked } = request;
        const server = serverOf(contract, options);
        if (caller === undefined) throw new AppError('INTERNAL', 'a relayed route has no caller');
        const callerGone = abortedByClient(reply);
        const over = revoked === undefined ? callerGone : AbortSignal.any([callerGone, revoked]);
        revoked?.addEventListener('abort', () => cutAnswer(reply), { once: true });
        const patience = isHeld(contract, request)
          ? untilAnswered(over, stopping)
          : { signal: over, answered: () => undefined };
        if (carriesBody(request.raw)) {
          request.body = takeBody(request.raw, bodyLimit(request, contract, options));
        }
        return perRequest.run(
          { signal: patience.signal, headersTimeout: patienceMs(contract) },
          () =>
            reply.from(undefined, {
              getUpstream: () => server.url,
              rewriteRequestHeaders: (_request, headers) =>
                requestHeaders(headers, server.token, caller),
              rewriteHeaders: (headers) => answerHeaders(headers, reply.getHeaders()),
              onResponse: (_request, _reply, answer) => {
                patience.answered();
                cutWhenStalled(reply, stalledMs);
                sendAnswer(reply, answer, contract);
              },
              onError: (_reply, { error }) => {
                patience.answered();
                if (callerGone.aborted) reply.hijack();
                else if (revoked?.aborted === true) void reply.send(revoked.reason);
                else void reply.send(relayError(error));
              },
            }),
        );
      },
    });
  }
}

/** Greeting and health are each process's own. */
function isRelayed({ callers }: RouteContract): boolean {
  return callers.includes('public-api');
}

/** What has begun to go out goes no further; before that there is an answer. */
function cutAnswer(reply: FastifyReply): void {
  if (reply.raw.headersSent) reply.raw.destroy();
}

/** Whether the answer may be held back for long: by its route, and because the caller asks for it. */
function isHeld({ heldForS = 0 }: RouteContract, { query }: FastifyRequest): boolean {
  return heldForS > 0 && 'wait' in (query as Record<string, unknown>);
}

/**
 * A signal that aborts when the caller is gone, and also when this process stops before there is an
 * answer: the caller asks again, and another process holds that.
 */
function untilAnswered(callerGone: AbortSignal, stopping: AbortSignal) {
  const end = new AbortController();
  const stop = () => end.abort(stopping.reason);
  if (stopping.aborted) stop();
  stopping.addEventListener('abort', stop, { once: true });
  callerGone.addEventListener('abort', () => end.abort(callerGone.reason), { once: true });
  return {
    signal: end.signal,
    answered: () => {
      stopping.removeEventListener('abort', stop);
    },
  };
}

/** Throws SERVICE_UNAVAILABLE where there is no gateway. */
function serverOf({ servedBy }: RouteContract, options: RelayOptions) {
  const { gateway, privateApiUrl: url, privateApiToken: token } = options;
  if (servedBy === undefined) return { url, token };
  if (gateway !== undefined) return gateway;
  throw new AppError('SERVICE_UNAVAILABLE', 'This server answers no calls: it has no rpc-gateway.');
}

/** 0: no bound, because the body of an upload takes as long as it takes, and the gateway bounds a call. */
function patienceMs({ body, servedBy, heldForS = 0 }: RouteContract): number {
  if (servedBy !== undefined || body?.kind === 'zip-upload') return 0;
  return heldForS * 1000 + answerWithinMs;
}

function sendAnswer(
  reply: FastifyReply,
  answer: { statusCode: number; stream: NodeJS.ReadableStream },
  { errors }: RouteContract,
): void {
  // An answer that comes before the end of the body sets `close`, which would cut the caller off
  // in the middle of its writing. The body is read to its end instead, within bounds; unless nobody
  // asked for it, or it is too slow.
  if (reply.raw.shouldKeepAlive && answer.statusCode !== 408) reply.removeHeader('connection');
  if (answer.statusCode !== 401 || errors.includes('LOGIN_FAILED')) {
    void reply.send(answer.stream);
    return;
  }
  // Not the caller's credentials are wrong, but ours.
  answer.stream.resume();
  for (const name of Object.keys(reply.getHeaders())) reply.removeHeader(name);
  void reply.send(new AppError('INTERNAL', 'a service behind public-api refuses its token'));
}

const unreachable = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_SOCKET',
]);

/** reply-from wraps what happened: the cause tells whether it was ours or the connection's. */
function relayError(error: Error): AppError {
  const cause = error.cause ?? error;
  if (unreachable.has(systemCode(cause) ?? '')) {
    return new AppError('SERVICE_UNAVAILABLE', 'The server is not available at the moment.', {
      cause,
      retryAfterS: 5,
    });
  }
  return toAppError(cause, 'relaying to private-api');
}
