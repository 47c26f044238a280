import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { callerOf } from '../../http/authorization.js';
import type { UserService } from './service.js';

export function mountUserRoutes(app: FastifyInstance, users: UserService): void {
  mountRoute(app, routes.putUser, ({ params, body, http }) =>
    users.put(params.user_name, body, callerOf(http)),
  );
  mountRoute(app, routes.listUsers, () => users.list());
  mountRoute(app, routes.lockUser, ({ params, http }) =>
    users.lock(params.user_name, callerOf(http)),
  );
}
