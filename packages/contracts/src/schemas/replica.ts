import Type, { type Static } from 'typebox';
import { BlobReference } from './attempt.js';
import { HumanReadableId } from './names.js';
import { ModelContract, RuntimeSettings } from './model-contract.js';
import { PullPolicy } from './model.js';
import { Needs } from './needs.js';
import { Rights } from './rights.js';
import { maxStoredInteger } from './stored-integer.js';
import { Time } from './time.js';

/**
 * The life of a replica, one running container of a runtime model:
 *
 *     STARTING ──serves──▶ READY ──not wanted──▶ DRAINING ──no gateway has it──▶ STOPPING ──gone──▶ ENDED
 *         └───────────────────┴── its container ended, its consumer is lost ────────────────────────▶ ENDED
 *
 * STARTING goes to STOPPING at once when it is not wanted any more.
 */
export const replicaStates = ['STARTING', 'READY', 'DRAINING', 'STOPPING', 'ENDED'] as const;
export type ReplicaState = (typeof replicaStates)[number];

const ReplicaId = Type.String({ pattern: '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });
export const ReplicaParams = Type.Object({
  consumer_id: Type.String({
    pattern: '^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$',
    maxLength: 100,
  }),
  replica_id: ReplicaId,
});

/** Of a container: as an address in the network of its replica. */
const Address = Type.String({
  pattern:
    '^(?:[0-9]{1,3}(?:\\.[0-9]{1,3}){3}|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$',
  maxLength: 260,
  description: 'host:port',
});

/**
 * Why a replica ended. `stopped`: it was not wanted any more. `exited`: its container ended by itself.
 * `start_failed`: it could not be started, or did not serve in time. `image`: its image could not be had.
 * `engine`: a fault of the engine or the device. `lost`: its consumer was not heard of.
 */
export const replicaEnds = [
  'stopped',
  'exited',
  'start_failed',
  'image',
  'engine',
  'lost',
] as const;
export type ReplicaEnd = (typeof replicaEnds)[number];

const storable = '^[^\\u0000\\p{Surrogate}]*$';

/** What a consumer says of one of its replicas. */
export const ReportedReplica = Type.Object(
  {
    id: ReplicaId,
    /** `draining`: it serves, or may, and its consumer stops: no more calls are to come to it. */
    state: Type.Enum(['starting', 'ready', 'draining', 'ended']),
    address: Type.Optional(Address),
    end: Type.Optional(
      Type.Object(
        {
          reason: Type.Enum(replicaEnds.filter((end) => end !== 'lost')),
          detail: Type.String({ maxLength: 1_000, pattern: storable }),
          exit_code: Type.Union([
            Type.Integer({ minimum: -maxStoredInteger, maximum: maxStoredInteger }),
            Type.Null(),
          ]),
          out_of_memory: Type.Boolean(),
          log: Type.String({
            maxLength: 65_536,
            pattern: storable,
            description: 'The end of what its container wrote.',
          }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type ReportedReplica = Static<typeof ReportedReplica>;

/** All replicas that a consumer has, and those that have ended since they were last told. */
export const ReplicaReport = Type.Object(
  {
    holder: Type.String({ minLength: 1, maxLength: 100 }),
    number: Type.Integer({
      minimum: 0,
      maximum: maxStoredInteger,
      description:
        'Counts the reports of a holder: an earlier one that comes later changes nothing.',
    }),
    replicas: Type.Array(ReportedReplica, { maxItems: 1_000 }),
    /** Of the last answer: it is asked again when this is not true any more. */
    revision: Type.Union([Type.String({ maxLength: 100 }), Type.Null()]),
  },
  { additionalProperties: false },
);
export type ReplicaReport = Static<typeof ReplicaReport>;

/** All that a consumer needs to run a replica. */
export const ReplicaOrder = Type.Object({
  id: ReplicaId,
  /** `stop`: its container is to be gone. What is not ordered at all is to be gone too. */
  wanted: Type.Enum(['run', 'stop']),
  model_version_id: Type.String(),
  human_readable_id: Type.String(),
  version: Type.Integer(),
  container_tag: Type.String(),
  pull_policy: PullPolicy,
  needs: Needs,
  rights: Rights,
  lenders: Type.Array(Type.String()),
  model_files: Type.Union([BlobReference, Type.Null()]),
  contract: ModelContract,
  has_contract_file: Type.Boolean({
    description: 'Whether the files have a contract.protobin of their own, which is used as it is.',
  }),
  has_served: Type.Boolean({
    description: 'Whether it was ready before: it is found again, and ended only by its exit.',
  }),
});
export type ReplicaOrder = Static<typeof ReplicaOrder>;

export const ReplicaOrders = Type.Object({
  revision: Type.String(),
  /** How long private-api counts on these replicas without hearing of their consumer. */
  lease_ms: Type.Integer(),
  replicas: Type.Array(ReplicaOrder),
});
export type ReplicaOrders = Static<typeof ReplicaOrders>;

/** What a gateway says with every sync. */
export const GatewayReport = Type.Object(
  {
    /** Of the last answer; the next one is held back until there is another. Null: everything is asked for. */
    revision: Type.Union([Type.String({ maxLength: 100 }), Type.Null()]),
    models_revision: Type.Union([Type.String({ maxLength: 100 }), Type.Null()]),
    number: Type.Integer({
      minimum: 0,
      maximum: maxStoredInteger,
      description:
        'Counts the reports of a gateway: an earlier one that comes later changes nothing.',
    }),
    leaves: Type.Optional(
      Type.Boolean({
        description: 'It is its last one: where it holds nothing, nobody waits for it any more.',
      }),
    ),
    /** The replicas that it may send calls to, with the calls that are under way. */
    holds: Type.Array(
      Type.Object({
        replica_id: ReplicaId,
        in_flight: Type.Integer({ minimum: 0, maximum: maxStoredInteger }),
        /** Since the end of the last call; null: it has none yet, or some are under way. */
        idle_s: Type.Union([Type.Number({ minimum: 0 }), Type.Null()]),
      }),
      { maxItems: 10_000 },
    ),
    /** The models that have calls, or had until lately. */
    demand: Type.Array(
      Type.Object({
        model_version_id: ReplicaId,
        waiting: Type.Integer({ minimum: 0, maximum: maxStoredInteger }),
        in_flight: Type.Integer({ minimum: 0, maximum: maxStoredInteger }),
      }),
      { maxItems: 10_000 },
    ),
  },
  { additionalProperties: false },
);
export type GatewayReport = Static<typeof GatewayReport>;

/** A runtime model at one of its versions. */
export const HostedModel = Type.Object({
  model_version_id: Type.String(),
  human_readable_id: HumanReadableId,
  version: Type.Integer(),
  description: Type.String(),
  is_current: Type.Boolean({
    description: 'Else its last replicas answer until the current version has some.',
  }),
  contract: ModelContract,
  target_in_flight: RuntimeSettings.properties.target_in_flight,
  max_batch_size: RuntimeSettings.properties.max_batch_size,
  max_delay_ms: RuntimeSettings.properties.max_delay_ms,
});
export type HostedModel = Static<typeof HostedModel>;

/** A batch model, which a gateway has asked by tasks: it takes and answers values by name, without a contract. */
export const BatchModel = Type.Object({
  model_version_id: Type.String(),
  human_readable_id: HumanReadableId,
  version: Type.Integer(),
  description: Type.String(),
});
export type BatchModel = Static<typeof BatchModel>;

export const GatewayNews = Type.Object({
  revision: Type.String(),
  models_revision: Type.String(),
  /** Left out: they are those of the revision that was named. */
  models: Type.Optional(Type.Array(HostedModel)),
  /** At their current versions; left out as `models` are. */
  batch_models: Type.Optional(Type.Array(BatchModel)),
  /** Those that calls may go to. One that is missing takes no more. */
  replicas: Type.Array(
    Type.Object({ id: ReplicaId, model_version_id: Type.String(), address: Address }),
  ),
  /** Why a model has no replica, or fewer than it should: for who waits for it. */
  trouble: Type.Array(Type.Object({ model_version_id: Type.String(), detail: Type.String() })),
});
export type GatewayNews = Static<typeof GatewayNews>;

/** A replica, for a person. */
export const ReplicaDetails = Type.Object({
  id: Type.String(),
  version: Type.Integer(),
  consumer_id: Type.String(),
  state: Type.Enum([...replicaStates]),
  in_flight: Type.Integer({ description: 'Calls that are under way, as the gateways last said.' }),
  created_at: Time,
  ready_at: Type.Union([Time, Type.Null()]),
  ended_at: Type.Union([Time, Type.Null()]),
  end_reason: Type.Union([Type.Enum([...replicaEnds]), Type.Null()]),
  detail: Type.Union([Type.String(), Type.Null()]),
  exit_code: Type.Union([Type.Integer(), Type.Null()]),
  out_of_memory: Type.Boolean(),
  log: Type.Union([Type.String(), Type.Null()], {
    description: 'Of one that ended: the end of what its container wrote.',
  }),
});
export type ReplicaDetails = Static<typeof ReplicaDetails>;
