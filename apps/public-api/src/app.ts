import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { Agent } from 'undici';
import { publicRoutes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  callerAddress,
  createCallerDirectory,
  createHttpServer,
  createRefusalTally,
  refuseOtherMethods,
  stranger,
  tallyRefusals,
  type Logger,
} from '@inference-server/service-kit';

import type { PublicApiConfig } from './config.js';
import { authorizeCallers } from './plugins/auth.js';
import { allowOrigins } from './plugins/cors.js';
import { servePublicDocs } from './plugins/docs.js';
import { answerHealth } from './plugins/health.js';
import { limitRequests } from './plugins/limits.js';
import { limitRates } from './plugins/rates.js';
import { relayRoutes } from './plugins/relay.js';
import { createRateCounters } from './rate-counters.js';

export type PublicApiOptions = Omit<
  PublicApiConfig,
  'host' | 'port' | 'logLevel' | 'logFiles' | 'stopGraceMs'
>;

/** The public API as a Fastify app that does not listen yet; closing it ends its connections. */
export async function createPublicApi(
  options: PublicApiOptions,
  logger: Logger,
): Promise<FastifyInstance> {
  const app = createHttpServer({ logger, trustedProxies: options.trustedProxies });
  const upstream = new Agent({
    connect: { timeout: 5_000 },
    // Uploads and held requests are silent for long; each relayed route sets its own bound.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const stopping = new AbortController();
  // Every held request listens.
  setMaxListeners(0, stopping.signal);
  app.addHook('preClose', async () => stopping.abort(isStopping()));
  app.addHook('onClose', async () => {
    // Requests whose callers were cut end by themselves in a moment, and are no faults of ours.
    await Promise.race([upstream.close(), sleep(1_000)]);
    await upstream.destroy();
  });

  const directory = createCallerDirectory({ ...options, upstream });
  await allowOrigins(app, options.corsOrigins);
  const { redisUrl, queuePrefix: prefix } = options;
  const counters = createRateCounters({ redisUrl, prefix, logger });
  const rates = limitRates(app, { rates: options.rates, counters });
  const checkCaller = authorizeCallers(app, { ...options, directory, rates });
  const refusals = createRefusalTally({
    tell: (those) => directory.noteRefusals(those),
    logger,
  });
  tallyRefusals(
    app,
    refusals,
    (request) => request.caller ?? { ...stranger, address: callerAddress(request) },
  );
  // Before the connections to private-api are closed: what comes later is closed first.
  app.addHook('onClose', () => refusals.close());
  refuseOtherMethods(app, publicRoutes);
  limitRequests(app, options);
  answerHealth(app, { ...options, upstream });
  await relayRoutes(app, { ...options, upstream, stopping: stopping.signal });
  await servePublicDocs(app, { ...options, upstream, checkCaller });
  return app;
}

function isStopping(): AppError {
  return new AppError('SERVICE_UNAVAILABLE', 'The server is stopping.', { retryAfterS: 2 });
}
