import { routes } from '@inference-server/contracts';
import { abortedByClient, mountRoute, sendBlob } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { consumerIdOf, ownerFilterOf } from '../../http/authorization.js';
import type { ReplicaService } from './service.js';

export function mountReplicaRoutes(app: FastifyInstance, replicas: ReplicaService): void {
  mountRoute(app, routes.reportReplicas, ({ body, http }, reply) =>
    replicas.report(consumerIdOf(http), body, abortedByClient(reply)),
  );

  mountRoute(app, routes.getReplicaModelFiles, async ({ params, query, http }, reply) => {
    const { replica_id: replicaId } = params;
    const replica = { replicaId, holder: query.holder };
    const files = await replicas.modelFiles(consumerIdOf(http), replica, abortedByClient(reply));
    return sendBlob(http, reply, files);
  });

  mountRoute(app, routes.syncGateway, ({ params, body }, reply) =>
    replicas.sync(params.gateway_id, body, abortedByClient(reply)),
  );

  mountRoute(app, routes.listReplicas, ({ params, http }) =>
    replicas.list(params.human_readable_id, ownerFilterOf(http)),
  );
}
