import Type from 'typebox';
import { defineRoute } from '../route.js';
import { Lease } from '../schemas/attempt.js';
import { ConsumerId, HumanReadableId } from '../schemas/names.js';
import {
  GatewayNews,
  GatewayReport,
  ReplicaDetails,
  ReplicaOrders,
  ReplicaParams,
  ReplicaReport,
} from '../schemas/replica.js';

const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'] as const;

/** How long private-api holds a report back that it has no news for (s). */
export const replicaNewsHeldS = 5;

export const reportReplicas = defineRoute({
  operationId: 'reportReplicas',
  method: 'POST',
  path: '/internal/consumers/:consumer_id/replicas',
  tag: 'replicas',
  summary: 'Tell of the replicas of a consumer, and hear which ones it is to have',
  description:
    'Renews the leases of all of them. Answered at once when there is something new for the `revision` that was named, and otherwise held. CONSUMER_EXISTS where another process is the consumer: it is to touch nothing. DEVICE_TAKEN where another consumer has its device for now.',
  params: Type.Object({ consumer_id: ConsumerId }),
  body: { kind: 'json', schema: ReplicaReport },
  success: { kind: 'json', schema: ReplicaOrders, description: 'All that it is to have.' },
  errors: [...errors, 'CONSUMER_EXISTS', 'DEVICE_TAKEN'],
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
  heldForS: replicaNewsHeldS,
});

export const getReplicaModelFiles = defineRoute({
  operationId: 'getReplicaModelFiles',
  method: 'GET',
  path: '/internal/consumers/:consumer_id/replicas/:replica_id/model-files',
  tag: 'replicas',
  summary: 'Get the files of the model of a replica',
  params: ReplicaParams,
  query: Type.Object({ holder: Lease.properties.holder }),
  success: { kind: 'zip', description: 'The zip that was registered with the model.' },
  errors: [
    ...errors,
    'CONFLICT',
    'PRECONDITION_FAILED',
    'RANGE_NOT_SATISFIABLE',
    'OUTPUT_NOT_FOUND',
  ],
  access: 'internal',
  object: 'consumer',
  callers: ['consumer'],
});

export const syncGateway = defineRoute({
  operationId: 'syncGateway',
  method: 'POST',
  path: '/internal/gateways/:gateway_id/sync',
  tag: 'replicas',
  summary: 'Tell of the calls of a gateway, and hear of models and replicas',
  description:
    'A gateway has one such request under way at a time: what it does not hold in its next report takes no call of it any more. Answered at once when there is something new for the `revision` that was named, and otherwise held.',
  params: Type.Object({
    gateway_id: Type.String({ pattern: '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$' }),
  }),
  body: { kind: 'json', schema: GatewayReport },
  success: { kind: 'json', schema: GatewayNews, description: 'What there is now.' },
  errors,
  access: 'internal',
  object: 'none',
  callers: ['rpc-gateway'],
  heldForS: replicaNewsHeldS,
});

export const listReplicas = defineRoute({
  operationId: 'listReplicas',
  method: 'GET',
  path: '/api/models/:human_readable_id/replicas',
  tag: 'replicas',
  summary: 'List the replicas of a runtime model',
  description:
    'Those that are there, and the last ones that ended: with why, and the end of their logs. For who registered the model, and for the role `operate`.',
  params: Type.Object({ human_readable_id: HumanReadableId }),
  query: Type.Object({}, { additionalProperties: false }),
  success: {
    kind: 'json',
    schema: Type.Array(ReplicaDetails),
    description: 'Its replicas, the newest first.',
  },
  errors: [...errors, 'DUPLICATE_PARAMETER', 'MODEL_NOT_FOUND'],
  access: 'publish',
  object: 'model',
  callers: ['public-api', 'operator'],
});
