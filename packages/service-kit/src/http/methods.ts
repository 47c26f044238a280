import { METHODS } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { roles, type Access, type RouteContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a method that its address does not have: those that it has. */
    allow?: string;
  }
}

/**
 * Every GET route of `app`, whoever mounts it, answers HEAD with the same handler: Node sends no body
 * then. Fastify's own HEAD routes would read a stream to its end. A handler that would open something
 * to be sent looks at the method.
 */
export function answerHead(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (route.method === 'GET') route.method = ['GET', 'HEAD'];
  });
}

/**
 * A known address answers 405 with Allow to the methods that it does not have, OPTIONS among them:
 * pages of other sites are to call nothing. Call it after the hook that authorizes, whose refusal
 * comes first, and before any that looks at the body.
 */
export function refuseOtherMethods(
  app: FastifyInstance,
  contracts: readonly RouteContract[],
): void {
  app.addHook('onRequest', refuse);
  const byPath = new Map<string, RouteContract[]>();
  for (const contract of contracts) {
    byPath.set(contract.path, [...(byPath.get(contract.path) ?? []), contract]);
  }
  for (const [path, routes] of byPath) {
    const methods = routes.map(({ method }) => method);
    refuseOtherMethodsAt(app, path, methods, anyOf(routes));
  }
}

/** The same for one address; `contract` tells who may get to hear it. */
export function refuseOtherMethodsAt(
  app: FastifyInstance,
  url: string,
  offered: readonly string[],
  contract?: RouteContract,
): void {
  const allowed = offered.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  // Node answers CONNECT by itself: it closes the connection.
  const others = METHODS.filter((method) => method !== 'CONNECT' && !allowed.includes(method));
  for (const method of others) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true });
  }
  app.route({
    method: others,
    url,
    config: { allow: allowed.join(', '), ...(contract && { contract }) },
    handler: refuse,
  });
}

/** As a hook, so that it comes before a body is looked at; as a handler, where there is no hook. */
async function refuse(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { allow } = request.routeOptions.config;
  if (allow === undefined) return;
  reply.header('allow', allow);
  throw new AppError('METHOD_NOT_ALLOWED', 'This address does not take this method.');
}

/** Whoever may call one of the routes may be told which they are. */
function anyOf(routes: readonly RouteContract[]): RouteContract | undefined {
  const [first] = routes;
  const access = accessByNeed.find((need) => routes.some((route) => route.access === need));
  return (
    first && {
      ...first,
      ...(access && { access }),
      callers: routes.flatMap(({ callers }) => callers),
    }
  );
}

const accessByNeed: readonly Access[] = ['open', ...roles];
