import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { callerOf } from '../../http/authorization.js';
import type { CallerService } from './service.js';

export function mountCallerRoutes(app: FastifyInstance, callers: CallerService): void {
  mountRoute(app, routes.identifyCaller, ({ body }) => callers.identify(body));
  mountRoute(app, routes.identifyBearers, async ({ body }) => ({
    callers: await callers.identifyBearers(body.bearers),
  }));
  mountRoute(app, routes.issueToken, ({ body, http }) => callers.issueToken(body, callerOf(http)));
  mountRoute(app, routes.getSetUp, async () => ({ has_keys: await callers.hasKeys() }));
}
