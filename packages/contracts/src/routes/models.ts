import Type from 'typebox';
import { defineRoute } from '../route.js';
import { Model, PullPolicy } from '../schemas/model.js';
import { ContainerTag, HumanReadableId } from '../schemas/names.js';
import { maxStoredInteger } from '../schemas/stored-integer.js';

const MountPoint = (path: string) =>
  Type.Optional(
    Type.Literal(path, { description: `Accepted from old clients when it is ${path}.` }),
  );

/** Lines of text: no control characters but tab and the ends of lines. */
const printable = '^[^\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F]*$';

/** The query of a model registration. Booleans may be spelled True and False. */
export const ModelQuery = Type.Object(
  {
    container_tag: ContainerTag,
    human_readable_id: HumanReadableId,
    description: Type.Optional(Type.String({ maxLength: 10_000, pattern: printable, default: '' })),
    model_available: Type.Optional(
      Type.Boolean({ default: false, description: 'Whether `zip_file` brings files for /model.' }),
    ),
    use_gpu: Type.Optional(Type.Boolean({ default: false })),
    pull_policy: Type.Optional(PullPolicy),
    timeout_s: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 30 * 24 * 3600,
        description: 'The longest run of a task in seconds.',
      }),
    ),
    retention_s: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: maxStoredInteger,
        description:
          'How long an output of this model is kept after the end of its task (s), if it is not fetched.',
      }),
    ),
    input_mountpoint: MountPoint('/input'),
    output_mountpoint: MountPoint('/output'),
    model_mountpoint: MountPoint('/model'),
  },
  { additionalProperties: false },
);

export const postModel = defineRoute({
  operationId: 'postModel',
  method: 'POST',
  path: '/api/models/',
  tag: 'models',
  summary: 'Register a model',
  description:
    'Puts a container image under a unique name. `model_available` says whether `zip_file` comes along: its files are mounted read-only on /model.',
  query: ModelQuery,
  body: {
    kind: 'zip-upload',
    optional: true,
    form: true,
    description: 'The static files of the model, when `model_available` is true.',
  },
  success: { kind: 'json', schema: Model, description: 'The registered model.' },
  errors: [
    'MALFORMED_REQUEST',
    'DUPLICATE_PARAMETER',
    'UNAUTHORIZED',
    'FORBIDDEN',
    'MODEL_EXISTS',
    'UPLOAD_TOO_SLOW',
    'PAYLOAD_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'VALIDATION_FAILED',
    'INVALID_FORM',
    'ZIP_REFUSED',
    'STORAGE_FULL',
  ],
  access: 'publish',
  callers: ['public-api', 'operator'],
});

export const listModels = defineRoute({
  operationId: 'listModels',
  method: 'GET',
  path: '/api/models/',
  tag: 'models',
  summary: 'List the models',
  success: {
    kind: 'json',
    schema: Type.Array(Model),
    description: 'Every model at its current version, by name.',
  },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'],
  query: Type.Object({}, { additionalProperties: false }),
  access: 'submit',
  callers: ['public-api', 'operator'],
});
