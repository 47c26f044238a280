import { randomUUID } from 'node:crypto';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
} from 'fastify';
import { canonicalUrl } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Logger } from '../logger.js';
import { stopInOrder } from './closing.js';
import { continueWhenRead } from './expect-continue.js';
import { foreignName } from './foreign-name.js';
import { answerHead } from './methods.js';
import { sendError } from './problem-reply.js';
import { refuseFaultyHeads } from './request-head.js';
import { tellBrowsers } from './security-headers.js';
import { answerUnparsable, watchExchanges } from './unparsable-request.js';
import { createValidatorCompiler } from './validators.js';

/**
 * A Fastify instance with the habits that all our HTTP servers share: routes with and without a
 * trailing slash, every error as a problem body, a parameter given twice refused, nothing coerced
 * away or dropped silently, JSON bodies up to `maxJsonBytes`, headers within `headersTimeoutMs`.
 */
export function createHttpServer(options: {
  logger: Logger;
  maxJsonBytes?: number;
  headersTimeoutMs?: number;
  /** Whose X-Forwarded-For is believed: addresses, networks, `loopback`, `uniquelocal`. Default: nobody's. */
  trustedProxies?: string[];
}): FastifyInstance {
  const { headersTimeoutMs = 30_000 } = options;
  const loggerInstance: FastifyBaseLogger = options.logger;
  const app = fastify({
    loggerInstance,
    trustProxy: options.trustedProxies ?? [],
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    rewriteUrl: ({ method = 'GET', url = '/' }) => canonicalUrl(method, url),
    bodyLimit: options.maxJsonBytes ?? 2 * 1024 * 1024,
    routerOptions: {
      ignoreTrailingSlash: true,
      maxParamLength: 512,
      querystringParser: parseQuery,
    },
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
    clientErrorHandler: answerUnparsable,
    forceCloseConnections: 'idle',
    // Fastify's own has another form than our other answers.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    // A long upload or a held-open request is no fault: whoever moves bytes bounds it by progress.
    requestTimeout: 0,
    http: {
      // Said for itself: Node's own default is no more than the requestTimeout.
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: Math.min(2_000, headersTimeoutMs),
      // A contract of some 8 KiB in an address, most of whose characters take three there.
      maxHeaderSize: 32 * 1024,
      // Node would answer without a body; we refuse it ourselves.
      requireHostHeader: false,
    },
    // The last resort against a peer that has gone without a word, in either direction.
    connectionTimeout: 10 * 60_000,
  });
  // Node drops what is beyond, without a word: we count ourselves. 0: no bound but the size.
  app.server.maxHeadersCount = 0;
  watchExchanges(app);
  stopInOrder(app);
  continueWhenRead(app);
  refuseFaultyHeads(app);
  app.setValidatorCompiler(createValidatorCompiler());
  answerHead(app);
  tellBrowsers(app);
  app.addHook('onRequest', async (request) => refuseGivenTwice(request));
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply));
  app.setNotFoundHandler((request, reply) =>
    sendError(new AppError('NOT_FOUND', 'There is nothing at this address.'), request, reply),
  );
  app.addHook('onResponse', async (request, reply) => {
    request.log.debug(
      {
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'answered',
    );
  });
  return app;
}

/** The router parses the query where a throw would end the process: a hook refuses it later. */
const givenTwice = new WeakMap<object, string>();

function refuseGivenTwice({ query }: FastifyRequest): void {
  const name = givenTwice.get(query as object);
  if (name === undefined) return;
  throw new AppError('DUPLICATE_PARAMETER', 'A query parameter is given twice.', {
    extensions: { parameter: foreignName(name) },
  });
}

function parseQuery(text: string): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(text)) {
    if (Object.hasOwn(query, name)) givenTwice.set(query, name);
    Object.defineProperty(query, name, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return query;
}
