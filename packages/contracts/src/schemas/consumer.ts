import Type, { type Static } from 'typebox';
import { Labels } from './labels.js';
import { ConsumerId } from './names.js';
import { maxStoredInteger } from './stored-integer.js';
import { Time } from './time.js';

/** What PostgreSQL takes in a JSON text: no NUL, and no half of a surrogate pair. */
const storable = '^[^\\u0000\\p{Surrogate}]*$';

/**
 * Whether a consumer can start containers now. `reconciling`: it is taking up what an earlier process,
 * or an outage of its engine, has left behind. `engine_away`: its engine does not answer.
 * `quarantined`: its device or engine failed again and again; it looks whether that has passed.
 */
const ReportedState = Type.Union([
  Type.Literal('ready'),
  Type.Literal('reconciling'),
  Type.Literal('engine_away'),
  Type.Literal('quarantined'),
]);

const Words = Type.String({ maxLength: 200, pattern: storable });
const Mib = Type.Integer({ minimum: 0, maximum: maxStoredInteger });

/** A GPU, or a slice of one. */
const Device = Type.Object(
  {
    uuid: Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: storable,
      description: 'As the engine is asked for it: a GPU UUID, a MIG UUID, or a CDI name.',
    }),
    gpu_uuid: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        pattern: storable,
        description: 'Of a slice: the UUID of its GPU, where that is known.',
      }),
    ),
    name: Type.Union([Words, Type.Null()], { description: 'Its model; null: nobody could tell.' }),
    memory_mib: Type.Union([Mib, Type.Null()], {
      description: 'What tasks may have of its memory; null: nobody could tell how much it has.',
    }),
    driver: Type.Union([Words, Type.Null()]),
  },
  { additionalProperties: false },
);

const coresAndMemory = {
  cpus: Type.Number({ exclusiveMinimum: 0, maximum: maxStoredInteger }),
  memory_mib: Mib,
};

/** What a consumer has. */
const Having = {
  device: Type.Union([Device, Type.Null()], {
    description: 'The device it owns; null: a CPU consumer.',
  }),
  host: Type.Object(coresAndMemory, {
    additionalProperties: false,
    description: 'Cores and memory of its host.',
  }),
  share: Type.Object(
    {
      ...coresAndMemory,
      cpus_per_task: Type.Optional(
        Type.Union([coresAndMemory.cpus, Type.Null()], {
          description: 'Cores of a task whose model does not say how many; null: its part.',
        }),
      ),
      memory_per_task_mib: Type.Union([Mib, Type.Null()], {
        description: 'Memory of a task whose model does not say how much; null: its part.',
      }),
    },
    { additionalProperties: false, description: 'What its tasks may have of that together.' },
  ),
  process: Type.String({
    maxLength: 100,
    pattern: storable,
    description: 'Consumers of one process have one host, and can lend each other their devices.',
  }),
  labels: Labels,
};

/** What a consumer says of itself with every heartbeat. */
export const ConsumerRegistration = Type.Object(
  {
    holder: Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'Names this start of the process: the holder of its leases.',
    }),
    version: Type.String({ maxLength: 100 }),
    state: ReportedState,
    reason: Type.Union([Type.String({ maxLength: 1000, pattern: storable }), Type.Null()], {
      description: 'Of a state that is not ready: why, for a person.',
    }),
    slots: Type.Integer({ minimum: 1, maximum: 1024, description: 'Tasks side by side.' }),
    ...Having,
  },
  { additionalProperties: false },
);
export type ConsumerRegistration = Static<typeof ConsumerRegistration>;

export const ConsumerRegistered = Type.Object({
  installation_id: Type.String(),
  heartbeat_interval_ms: Type.Integer(),
});
export type ConsumerRegistered = Static<typeof ConsumerRegistered>;

/** An attempt by its name. */
export const HeldAttempts = Type.Array(
  Type.Object({ task_uid: Type.String(), attempt: Type.Integer({ minimum: 1 }) }),
);
export type HeldAttempts = Static<typeof HeldAttempts>;

export const ConsumerDetails = Type.Object({
  id: Type.String(),
  version: Type.String(),
  state: Type.Union([...ReportedState.anyOf, Type.Literal('silent'), Type.Literal('gone')], {
    description:
      '`silent`: not heard of lately. `gone`: signed off, or silent while another took its device.',
  }),
  reason: Type.Union([Type.String(), Type.Null()]),
  draining: Type.Boolean({ description: 'Whether it is given no more tasks.' }),
  slots: Type.Integer(),
  ...Having,
  running: Type.Integer({ description: 'Attempts that it holds.' }),
  queued: Type.Integer({ description: 'Tickets that it has been sent.' }),
  heartbeat_at: Time,
});
export type ConsumerDetails = Static<typeof ConsumerDetails>;

export const ConsumerList = Type.Array(ConsumerDetails);
const ModelVersionId = Type.String({ pattern: '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });

/** How many model versions can be asked about at once. */
export const maxModelVersionIds = 1_000;

/** The model versions that an engine has volumes of. */
export const ModelVersionIds = Type.Object(
  { model_version_ids: Type.Array(ModelVersionId, { maxItems: maxModelVersionIds }) },
  { additionalProperties: false },
);

export const UnusedModelVersions = Type.Object({
  installation_id: Type.String({ description: 'Whose versions these are.' }),
  unused: Type.Array(ModelVersionId),
});
export type UnusedModelVersions = Static<typeof UnusedModelVersions>;

/** How many consumers can be asked about at once. */
export const maxConsumerIds = 1_000;

/** The consumers of which an engine has something. */
export const ConsumerIds = Type.Object(
  { consumer_ids: Type.Array(ConsumerId, { maxItems: maxConsumerIds }) },
  { additionalProperties: false },
);

export const GoneConsumers = Type.Object({
  installation_id: Type.String({ description: 'Whose consumers these are.' }),
  gone: Type.Array(ConsumerId, {
    description: 'Whatever these had in an engine when this was asked is of no use any more.',
  }),
  unknown: Type.Array(ConsumerId, { description: 'Never registered: nothing is known of theirs.' }),
});
export type GoneConsumers = Static<typeof GoneConsumers>;
