import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Quota } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  callerAddress,
  isLoopbackAddress,
  networkOf,
  rateLimitHeaders,
} from '@inference-server/service-kit';
import type { PublicApiConfig } from '../config.js';
import type { RateCounters, RateLimit } from '../rate-counters.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The limits that the request was counted towards. */
    counted?: Quota[];
  }
}

export interface Rates {
  /** Counts whose request it is. Throws TOO_MANY_REQUESTS. */
  countCaller(request: FastifyRequest, reply: FastifyReply, credential: string): Promise<void>;
  /** Throws TOO_MANY_REQUESTS where too much was shown lately that opens nothing. */
  requireFewRefusals(request: FastifyRequest): Promise<void>;
  countRefusal(request: FastifyRequest): Promise<void>;
}

/**
 * How much one address, and then, once it is known whose the request is, one key or person may ask for.
 * Every answer tells how much is left. Whoever is on this machine is not counted; callers without a key
 * count by their address alone. Call it before callers are looked at.
 */
export function limitRates(
  app: FastifyInstance,
  { rates, counters }: { rates: PublicApiConfig['rates']; counters: RateCounters },
): Rates {
  const { windowS } = rates;
  const limits = {
    address: { policy: 'requests-per-address', limit: rates.requestsPerAddress, windowS },
    addressPosts: { policy: 'posts-per-address', limit: rates.postsPerAddress, windowS },
    key: { policy: 'requests-per-key', limit: rates.requestsPerKey, windowS },
    keyPosts: { policy: 'posts-per-key', limit: rates.postsPerKey, windowS },
  };
  const refusals: RateLimit = {
    ...{ policy: 'refusals-per-address', limit: rates.refusalsPerAddress, windowS: 60 },
  };
  const countsRefusals = (request: FastifyRequest) =>
    refusals.limit > 0 && !isOfThisMachine(request);

  async function count(
    request: FastifyRequest,
    reply: FastifyReply,
    subject: string,
    those: readonly RateLimit[],
  ): Promise<void> {
    const counted = await Promise.all(
      those
        .filter(({ limit }) => limit > 0)
        .map(async (limit) => quotaOf(limit, await counters.count(limit, subject))),
    );
    if (counted.length === 0) return;
    request.counted = [...(request.counted ?? []), ...counted];
    reply.headers(rateLimitHeaders(request.counted));
    const passed = counted.find(({ limit, used }) => used > limit);
    if (passed !== undefined) throw tooMany(passed);
  }

  app.addHook('onRequest', async (request, reply) => {
    if (isOfThisMachine(request)) return;
    const { address, addressPosts } = limits;
    const those = isPost(request) ? [address, addressPosts] : [address];
    await count(request, reply, networkOf(callerAddress(request)), those);
  });
  app.addHook('onClose', async () => counters.close());

  return {
    async countCaller(request, reply, credential) {
      if (isOfThisMachine(request)) return;
      const { key, keyPosts } = limits;
      await count(request, reply, credential, isPost(request) ? [key, keyPosts] : [key]);
    },

    async requireFewRefusals(request) {
      if (!countsRefusals(request)) return;
      const use = await counters.look(refusals, networkOf(callerAddress(request)));
      if (use.used >= refusals.limit) throw tooMany(quotaOf(refusals, use));
    },

    async countRefusal(request) {
      if (!countsRefusals(request)) return;
      await counters.count(refusals, networkOf(callerAddress(request)));
    },
  };
}

/** Not one for whom a proxy on this machine speaks. */
function isOfThisMachine(request: FastifyRequest): boolean {
  const addresses = [request.socket.remoteAddress ?? '', callerAddress(request)];
  return addresses.every((address) => isLoopbackAddress(withoutMapping(address)));
}

/** A server that listens to both kinds of addresses sees IPv4 as IPv6; the loopback address has no network. */
function withoutMapping(address: string): string {
  return address.startsWith('::ffff:') ? networkOf(address) : address;
}

/** What is worked on and kept. */
function isPost({ routeOptions: { config } }: FastifyRequest): boolean {
  return config.contract?.body?.kind === 'zip-upload';
}

function quotaOf(
  { policy, limit, windowS }: RateLimit,
  { used, resetS }: { used: number; resetS: number },
): Quota {
  return { policy, unit: 'requests', limit, used, window_s: windowS, reset_s: resetS };
}

function tooMany(quota: Quota): AppError {
  const { limit, window_s, reset_s } = quota;
  return new AppError(
    'TOO_MANY_REQUESTS',
    `More than ${limit} in ${window_s} s (${quota.policy}): ask again in ${reset_s} s.`,
    {
      // No more is counted as used than there is.
      extensions: { quota: { ...quota, used: limit } },
      ...(reset_s !== null && { retryAfterS: reset_s }),
    },
  );
}
