import Type, { type Static } from 'typebox';
import { maxStoredInteger } from './stored-integer.js';

/** What PostgreSQL takes in a JSON text: no NUL, and no half of a surrogate pair. */
const storable = '^[^\\u0000\\p{Surrogate}]*$';

/** What a consumer says of itself with every heartbeat. */
export const ConsumerRegistration = Type.Object(
  {
    holder: Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'Names this start of the process: the holder of its leases.',
    }),
    version: Type.String({ maxLength: 100 }),
    state: Type.Union([Type.Literal('ready'), Type.Literal('engine_away')], {
      description: 'Whether it can start containers now.',
    }),
    slots: Type.Integer({ minimum: 1, maximum: 1024, description: 'Tasks side by side.' }),
    gpu_uuid: Type.Union([Type.String({ maxLength: 200 }), Type.Null()], {
      description: 'The device it owns; null: a CPU consumer.',
    }),
    memory_mib: Type.Integer({
      minimum: 0,
      maximum: maxStoredInteger,
      description: 'Memory of the host.',
    }),
    labels: Type.Record(
      Type.String({ pattern: '^[!-~]{1,63}$' }),
      Type.String({ maxLength: 255, pattern: storable }),
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);
export type ConsumerRegistration = Static<typeof ConsumerRegistration>;

export const ConsumerRegistered = Type.Object({
  installation_id: Type.String(),
  heartbeat_interval_ms: Type.Integer(),
});
export type ConsumerRegistered = Static<typeof ConsumerRegistered>;

const ModelVersionId = Type.String({ pattern: '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });

/** How many model versions can be asked about at once. */
export const maxModelVersionIds = 1_000;

/** The model versions that an engine has volumes of. */
export const ModelVersionIds = Type.Object(
  { model_version_ids: Type.Array(ModelVersionId, { maxItems: maxModelVersionIds }) },
  { additionalProperties: false },
);

export const UnusedModelVersions = Type.Object({
  unused: Type.Array(ModelVersionId),
});
