import { Redis } from 'ioredis';
import { pino } from 'pino';
import { expect } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import type { PublicApiOptions } from '../src/app.js';
import {
  answerIdentify,
  keyOf,
  noRates,
  send,
  startPublicApi,
  startUpstream,
  uid,
  wrongKey,
} from './servers.js';

const task = `/api/tasks/${uid}`;
export const post = '/api/tasks/?human_readable_id=a';

/** How a request of the scene is: by whose key, from which address, as the proxy says. */
export interface Asked {
  key?: string;
  from?: string;
  method?: string;
  path?: string;
}

/** Public APIs behind a proxy on this machine, who may identify callers slowly; and their logs. */
export async function startLimited(
  options: Omit<Partial<PublicApiOptions>, 'rates'> & {
    rates?: Partial<PublicApiOptions['rates']>;
    identify?: (bearer: string) => Promise<void>;
  },
) {
  const { rates = {}, identify = async () => undefined, ...others } = options;
  const identified: string[] = [];
  const upstream = await startUpstream((request, response) => {
    if (request.url?.startsWith('/internal/callers/identify') !== true) {
      response.end(request.headers['inference-caller']);
      return;
    }
    answerIdentify(request, response, async (bearer) => {
      identified.push(bearer);
      await identify(bearer);
      const credential = `key:${bearer.slice(4, 20)}`;
      if (bearer === wrongKey) return undefined;
      return { owner: credential, credential, role: 'publish', human_readable_id: null };
    });
  });
  const log: string[] = [];
  const logger = pino(
    { level: 'info' },
    {
      write: (line: string) => {
        const { msg } = JSON.parse(line) as { msg: string };
        if (!msg.startsWith('Server listening')) log.push(msg);
      },
    },
  );
  const start = async () => {
    const { url, app } = await startPublicApi(
      {
        privateApiUrl: upstream.url,
        trustedProxies: ['loopback'],
        rates: { ...noRates, ...rates },
        ...others,
      },
      logger,
    );
    const ask = async ({ key = keyOf('a'), from = '203.0.113.1', method, path }: Asked = {}) => {
      const answer = await send(url + (path ?? task), {
        method: method ?? 'GET',
        headers: {
          ...(key !== '' && { authorization: `Bearer ${key}` }),
          ...(from !== '' && { 'x-forwarded-for': from }),
        },
      });
      const { ratelimit: left, 'ratelimit-policy': policy } = answer.headers as Record<
        string,
        string | undefined
      >;
      return {
        status: answer.status,
        left,
        policy,
        retryAfterS: Number(answer.headers['retry-after']),
        body: JSON.parse(answer.text) as Partial<Problem>,
      };
    };
    return { url, app, ask };
  };
  return { ...(await start()), start, identified, log };
}

let others = 0;

/** Waits until a process counts in this Redis, by requests from addresses that nobody else has. */
export async function untilCounted(
  redisUrl: string,
  prefix: string,
  ask: (asked: Asked) => Promise<unknown>,
): Promise<void> {
  const from = `203.0.113.${100 + (others += 1)}`;
  const client = new Redis(redisUrl);
  try {
    const isCounted = async () => {
      await ask({ from });
      return (await client.exists(`${prefix}-rates:requests-per-address:${from}`)) === 1;
    };
    expect(await waitUntil(isCounted, { timeoutMs: 10_000 })).toBe(true);
  } finally {
    client.disconnect();
  }
}
