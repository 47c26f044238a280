import Type, { type Static } from 'typebox';
import { ModelContract, RuntimeSettings } from './model-contract.js';
import { ContainerTag, HumanReadableId } from './names.js';
import { Needs } from './needs.js';
import { Rights } from './rights.js';
import { Time } from './time.js';

/** When the image of a model is pulled: only if absent, before each task, or never. */
export const PullPolicy = Type.Union(
  [Type.Literal('missing'), Type.Literal('always'), Type.Literal('never')],
  { description: 'When the image is pulled.' },
);
export type PullPolicy = Static<typeof PullPolicy>;

/** `batch`: runs once per task. `runtime`: stays up and answers calls of Predict. */
export const ModelKind = Type.Enum(['batch', 'runtime'], {
  description: 'batch: runs once per task. runtime: stays up and answers calls of Predict.',
});
export type ModelKind = Static<typeof ModelKind>;

export const Model = Type.Object(
  {
    human_readable_id: HumanReadableId,
    version: Type.Integer({ minimum: 1 }),
    kind: ModelKind,
    contract: Type.Union([ModelContract, Type.Null()], {
      description: 'What a runtime model takes and gives; null: a batch model.',
    }),
    ...RuntimeSettings.properties,
    container_tag: ContainerTag,
    description: Type.String(),
    model_available: Type.Boolean({ description: 'Whether the model has files on /model.' }),
    ...Needs.properties,
    ...Rights.properties,
    gpu_memory_peak_mib: Type.Union([Type.Integer(), Type.Null()], {
      description:
        'The most that a run of this version was seen to take of the memory of one GPU; null: nothing was seen.',
    }),
    pull_policy: PullPolicy,
    timeout_s: Type.Union([Type.Integer(), Type.Null()], {
      description: "The longest run of a task in seconds; null: the server's default.",
    }),
    retries: Type.Integer({
      description: 'How often a task is run again that failed by its own doing.',
    }),
    retention_s: Type.Union([Type.Integer(), Type.Null()], {
      description: "How long an output is kept at most; null: the server's default.",
    }),
    input_retention_s: Type.Union([Type.Integer(), Type.Null()], {
      description: "How long an input is kept at most; null: the server's default.",
    }),
    log_retention_s: Type.Union([Type.Integer(), Type.Null()], {
      description: "How long a log is kept at most; null: the server's default.",
    }),
    created_at: Time,
    warnings: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Of a registration: what a person should know, though it was taken.',
      }),
    ),
  },
  { $id: 'Model', additionalProperties: false },
);
export type Model = Static<typeof Model>;
