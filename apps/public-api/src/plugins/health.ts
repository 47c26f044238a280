import type { FastifyInstance } from 'fastify';
import Value from 'typebox/value';
import type { Agent } from 'undici';
import { greetingOf, routes, type Readiness } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { mountRoute } from '@inference-server/service-kit';

/** Beyond the 2 s that private-api gives its own parts. */
const askedForMs = 4_000;

/** The routes that this process answers itself: greeting, liveness, readiness. */
export function answerHealth(
  app: FastifyInstance,
  {
    privateApiUrl,
    gateway,
    upstream,
  }: { privateApiUrl: string; gateway: { url: string } | undefined; upstream: Agent },
): void {
  mountRoute(app, routes.greet, async () => {
    const { status } = await readiness(privateApiUrl, upstream);
    return greetingOf(status);
  });

  mountRoute(app, routes.getHealth, () => Promise.resolve({ status: 'up' }));

  mountRoute(app, routes.getReadiness, async (_request, reply) => {
    const answer = await readiness(privateApiUrl, upstream);
    if (answer.status === 'down') reply.code(503).header('retry-after', 2);
    return answer;
  });

  mountRoute(app, routes.oipServerLive, () => Promise.resolve({ live: true }));

  mountRoute(app, routes.oipServerReady, async () => {
    const parts = [privateApiUrl, ...(gateway === undefined ? [] : [gateway.url])];
    const answers = await Promise.all(parts.map((url) => askReadiness(url, upstream)));
    const isUp = answers.every((answer) => answer !== undefined && answer.status !== 'down');
    if (gateway !== undefined && isUp) return { ready: true };
    throw new AppError(
      'SERVICE_UNAVAILABLE',
      'The server takes no calls of models at the moment.',
      {
        retryAfterS: 2,
      },
    );
  });
}

/** What private-api says of itself, and whether it says anything. */
async function readiness(privateApiUrl: string, upstream: Agent): Promise<Readiness> {
  const theirs = await askReadiness(privateApiUrl, upstream);
  if (theirs === undefined) return { status: 'down', checks: { private_api: 'down' } };
  return { status: theirs.status, checks: { ...theirs.checks, private_api: 'up' } };
}

/** The Readiness of a process (sent under 200 and 503 alike), or undefined when it gives none. */
async function askReadiness(origin: string, upstream: Agent): Promise<Readiness | undefined> {
  try {
    const { body } = await upstream.request({
      ...{ origin, path: '/readyz', method: 'GET' },
      signal: AbortSignal.timeout(askedForMs),
    });
    const answer = await body.json();
    return Value.Check(routes.getReadiness.success.schema, answer) ? answer : undefined;
  } catch {
    return undefined;
  }
}
