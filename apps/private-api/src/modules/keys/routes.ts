import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { callerOf } from '../../http/authorization.js';
import type { KeyService } from './service.js';

export function mountKeyRoutes(app: FastifyInstance, keys: KeyService): void {
  mountRoute(app, routes.createKey, ({ body, http }) => keys.create(body, callerOf(http)));
  mountRoute(app, routes.listKeys, () => keys.list());
  mountRoute(app, routes.revokeKey, ({ params, http }) =>
    keys.revoke(params.key_id, callerOf(http)),
  );
}
