import Type from 'typebox';
import { defineRoute } from '../route.js';
import { LabelsText } from '../schemas/labels.js';
import { Model, ModelKind, PullPolicy } from '../schemas/model.js';
import { RuntimeSettings, usualRuntime } from '../schemas/model-contract.js';
import { ContainerTag, HumanReadableId } from '../schemas/names.js';
import { NetworkName, UserNumber } from '../schemas/rights.js';
import { maxStoredInteger } from '../schemas/stored-integer.js';

const MountPoint = (path: string) =>
  Type.Optional(
    Type.Literal(path, { description: `Accepted from old clients when it is ${path}.` }),
  );

/** An engine starts no container with less (docker: 0.01 cores, 6 MiB). */
const leastCpus = 0.01;
const leastMemoryMib = 8;

const Needed = (description: string, minimum = 1) =>
  Type.Optional(Type.Integer({ minimum, maximum: maxStoredInteger, description }));

/** Unlike an output, an input or a log may go at once. */
const Kept = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 0, maximum: maxStoredInteger, description }));

/** Of runtime models alone: batch models are refused with them. */
const Runtime = (name: keyof RuntimeSettings, setting?: string) => {
  const {
    minimum,
    maximum = maxStoredInteger,
    description,
  } = RuntimeSettings.properties[name] as unknown as {
    minimum: number;
    maximum?: number;
    description: string;
  };
  return Type.Optional(
    Type.Integer({
      ...{ minimum, maximum },
      description: `Of a runtime model. ${description}${setting === undefined ? '' : ` At most ${setting}.`} Default: ${usualRuntime[name]}.`,
    }),
  );
};

/** Lines of text: no control characters but tab and the ends of lines. */
const printable = '^[^\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F]*$';

/** What a registration says of a model beside its name. Booleans may be spelled True and False. */
const parameters = {
  container_tag: ContainerTag,
  kind: Type.Optional(ModelKind),
  contract: Type.Optional(
    Type.String({
      minLength: 2,
      maxLength: 65_536,
      description:
        'Of a runtime model, as JSON: {"signature_name", "inputs": [{"name", "dtype", "shape", "profile"?}], "outputs": […]}. A shape has -1 for any size, [] is one value, left out says nothing. May also come as a part of the form. Not beside a contract.protobin at the root of the zip, which makes a runtime model by itself.',
    }),
  ),
  model_url: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 2_000,
      description:
        'Instead of `zip_file`, where the zip is fetched from, once: https:, s3:, or file: below MODEL_SOURCE_DIR.',
    }),
  ),
  min_replicas: Runtime('min_replicas', 'MAX_MIN_REPLICAS'),
  max_replicas: Runtime('max_replicas', 'MAX_REPLICAS'),
  idle_timeout_s: Runtime('idle_timeout_s'),
  target_in_flight: Runtime('target_in_flight'),
  max_batch_size: Runtime('max_batch_size'),
  max_delay_ms: Runtime('max_delay_ms'),
  description: Type.Optional(Type.String({ maxLength: 10_000, pattern: printable, default: '' })),
  model_available: Type.Optional(
    Type.Boolean({ default: false, description: 'Whether `zip_file` brings files for /model.' }),
  ),
  use_gpu: Type.Optional(Type.Boolean({ default: false })),
  gpu_count: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'With `use_gpu`: how many GPUs of one host a run has.',
    }),
  ),
  gpu_memory_mib: Needed(
    'With `use_gpu`: what a run takes of the memory of each of its GPUs, which it then shares with others. Default: it has them alone.',
  ),
  cpus: Type.Optional(
    Type.Number({
      minimum: leastCpus,
      maximum: 4096,
      description: 'Cores that a run has. Default: its part of what the consumer has.',
    }),
  ),
  memory_mib: Needed(
    'Memory of the host that a run has, without swap. Default: its part of what the consumer has.',
    leastMemoryMib,
  ),
  shm_mib: Needed('Size of /dev/shm, which counts towards the memory. Default: the consumer says.'),
  labels: Type.Optional(
    Type.String({
      ...LabelsText,
      default: '',
      description: 'Runs only on consumers that have all of these labels: key=value,key=value.',
    }),
  ),
  network: Type.Optional(
    Type.String({
      ...NetworkName,
      description:
        'A network of the engine that its runs join, if the policy allows it. Default: none.',
    }),
  ),
  user: Type.Optional(
    Type.String({
      ...UserNumber,
      description:
        'Whom its runs run as: uid, or uid:gid; not root. Default: the user of the image.',
    }),
  ),
  read_only_root: Type.Optional(
    Type.Boolean({
      default: false,
      description: 'Its runs can write to /output, /tmp and /dev/shm alone.',
    }),
  ),
  cap_add: Type.Optional(
    Type.String({
      pattern: '^(?:[A-Z_]+(?:,[A-Z_]+)*)?$',
      maxLength: 400,
      description: 'Capabilities of its runs, if the policy allows them: NAME,NAME. Default: none.',
      examples: ['SYS_NICE,IPC_LOCK'],
    }),
  ),
  pull_policy: Type.Optional(PullPolicy),
  timeout_s: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 30 * 24 * 3600,
      description: 'The longest run of a task in seconds.',
    }),
  ),
  retries: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 100,
      description: 'How often a task is run again that failed by its own doing. Default: never.',
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
  input_retention_s: Kept('How long the input of a task is kept after its end (s).'),
  log_retention_s: Kept('How long the log of an attempt is kept after its end (s).'),
  input_mountpoint: MountPoint('/input'),
  output_mountpoint: MountPoint('/output'),
  model_mountpoint: MountPoint('/model'),
};

const files = {
  kind: 'zip-upload',
  optional: true,
  form: true,
  description: 'The static files of the model, when `model_available` is true.',
} as const;

const ModelParams = Type.Object({ human_readable_id: HumanReadableId });
const NoQuery = Type.Object({}, { additionalProperties: false });
const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'] as const;
const uploadErrors = [
  ...errors,
  'QUOTA_EXCEEDED',
  'MALFORMED_REQUEST',
  'UPLOAD_TOO_SLOW',
  'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'INVALID_FORM',
  'ZIP_REFUSED',
  'STORAGE_FULL',
] as const;

export const postModel = defineRoute({
  operationId: 'postModel',
  method: 'POST',
  path: '/api/models/',
  tag: 'models',
  summary: 'Register a model',
  description:
    'Puts a container image under a unique name, also where all but letters, digits and _ count as _. `model_available` says whether `zip_file` comes along: its files are mounted read-only on /model.',
  query: Type.Object(
    { human_readable_id: HumanReadableId, ...parameters },
    { additionalProperties: false },
  ),
  body: files,
  success: { kind: 'json', schema: Model, description: 'The registered model.' },
  errors: [...uploadErrors, 'MODEL_EXISTS'],
  access: 'publish',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const putModel = defineRoute({
  operationId: 'putModel',
  method: 'PUT',
  path: '/api/models/:human_readable_id',
  tag: 'models',
  summary: 'Register a model, or its next version',
  description:
    'Takes all that a registration takes, and replaces all of it: what is left out has its default again, files that are not sent again are none. Tasks that were posted before keep the version that they have. The same image, options and files as those of the current version make no new one, so that it can be repeated; neither does another description.',
  params: ModelParams,
  query: Type.Object(parameters, { additionalProperties: false }),
  body: files,
  success: {
    kind: 'json',
    schema: Model,
    description: 'The model at its current version, which the next task has.',
  },
  errors: [...uploadErrors, 'MODEL_EXISTS'],
  access: 'publish',
  object: 'model',
  callers: ['public-api', 'operator'],
});

export const getModel = defineRoute({
  operationId: 'getModel',
  method: 'GET',
  path: '/api/models/:human_readable_id',
  tag: 'models',
  summary: 'Get a model',
  params: ModelParams,
  query: NoQuery,
  success: { kind: 'json', schema: Model, description: 'The model at its current version.' },
  errors: [...errors, 'MODEL_NOT_FOUND'],
  access: 'submit',
  object: 'model',
  callers: ['public-api', 'operator'],
});

export const deleteModel = defineRoute({
  operationId: 'deleteModel',
  method: 'DELETE',
  path: '/api/models/:human_readable_id',
  tag: 'models',
  summary: 'Delete a model',
  description:
    'From then on nothing can be posted to it. Tasks that wait or run go on to their end; the files of the model are removed after that. The name can be registered again: that makes the next version.',
  params: ModelParams,
  query: NoQuery,
  success: {
    kind: 'json',
    schema: Type.Object({ detail: Type.String() }),
    description: 'The model is gone.',
  },
  errors: [...errors, 'MODEL_NOT_FOUND'],
  access: 'publish',
  object: 'model',
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
  errors,
  query: NoQuery,
  access: 'submit',
  object: 'none',
  callers: ['public-api', 'operator'],
});
