import type { FastifyInstance } from 'fastify';
import Value from 'typebox/value';
import type { Agent } from 'undici';
import { greetingOf, routes, type Readiness } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';

/** Beyond the 2 s that private-api gives its own parts. */
const askedForMs = 4_000;

/** The routes that this process answers itself: greeting, liveness, readiness. */
export function answerHealth(
  app: FastifyInstance,
  { privateApiUrl, upstream }: { privateApiUrl: string; upstream: Agent },
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
}

/** What private-api says of itself, and whether it says anything. */
async function readiness(privateApiUrl: string, upstream: Agent): Promise<Readiness> {
  const theirs = await askPrivateApi(privateApiUrl, upstream).catch(() => undefined);
  if (theirs === undefined) return { status: 'down', checks: { private_api: 'down' } };
  return { status: theirs.status, checks: { ...theirs.checks, private_api: 'up' } };
}

/** Its Readiness (sent under 200 and 503 alike), or undefined when the answer is none. */
async function askPrivateApi(
  privateApiUrl: string,
  upstream: Agent,
): Promise<Readiness | undefined> {
  const { body } = await upstream.request({
    origin: privateApiUrl,
    path: '/readyz',
    method: 'GET',
    signal: AbortSignal.timeout(askedForMs),
  });
  const answer = await body.json();
  return Value.Check(routes.getReadiness.success.schema, answer) ? answer : undefined;
}
