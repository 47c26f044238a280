import Type from 'typebox';
import { defineRoute } from '../route.js';
import { HumanReadableId, TaskUid } from '../schemas/names.js';
import { Owner } from '../schemas/key.js';
import { TaskList, TaskStatus } from '../schemas/task.js';
import { taskStates } from '../task-states.js';

/** The longest that a GET of a task may be held open (s). */
export const maxTaskWaitS = 60;

/** How long (s) a key of a post stands for its task. */
export const idempotencyKeyKeptS = 24 * 3600;

const NoQuery = Type.Object({}, { additionalProperties: false });
const TaskParams = Type.Object({ uid: TaskUid });
const readErrors = [
  'UNAUTHORIZED',
  'FORBIDDEN',
  'DUPLICATE_PARAMETER',
  'VALIDATION_FAILED',
] as const;

export const postTask = defineRoute({
  operationId: 'postTask',
  method: 'POST',
  path: '/api/tasks/',
  tag: 'tasks',
  summary: 'Post a task',
  description:
    'Stores the zip as the input of one run of the model and answers with the uid of the task. A post that carries `container_tag` is a model registration and takes the parameters of `POST /api/models/`.',
  query: Type.Object(
    {
      human_readable_id: Type.Optional(HumanReadableId),
      model_human_readable_id: Type.Optional(
        Type.String({ ...HumanReadableId, description: 'The old name of `human_readable_id`.' }),
      ),
    },
    { additionalProperties: false },
  ),
  headers: Type.Object({
    'idempotency-key': Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: '^[^\\u0000-\\u001F\\u007F]*$',
        description:
          'A text of the caller’s own, of at most 255 bytes: the same post under the same key, within 24 hours, is answered with the same uid and makes no second task.',
      }),
    ),
  }),
  body: {
    kind: 'zip-upload',
    optional: false,
    form: true,
    description: 'The input of the task; its content is mounted on /input.',
  },
  success: {
    kind: 'json',
    schema: TaskUid,
    description: 'The uid of the task, as a bare JSON string. The task will run.',
  },
  errors: [
    'MALFORMED_REQUEST',
    'DUPLICATE_PARAMETER',
    'UNAUTHORIZED',
    'FORBIDDEN',
    'QUOTA_EXCEEDED',
    'IDEMPOTENCY_KEY_REUSED',
    'UPLOAD_TOO_SLOW',
    'PAYLOAD_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'VALIDATION_FAILED',
    'INVALID_FORM',
    'ZIP_REFUSED',
    'TOO_MANY_REQUESTS',
    'STORAGE_FULL',
    'MODEL_NOT_FOUND',
  ],
  access: 'submit',
  object: 'none',
  callers: ['public-api', 'rpc-gateway', 'operator'],
});

export const listTasks = defineRoute({
  operationId: 'listTasks',
  method: 'GET',
  path: '/api/tasks/',
  tag: 'tasks',
  summary: 'List tasks',
  description:
    'Those that the caller has posted; with the role `operate` everybody’s. Not for callers without a key, who reach a task by its uid alone.',
  query: Type.Object(
    {
      state: Type.Optional(Type.Enum([...taskStates])),
      human_readable_id: Type.Optional(HumanReadableId),
      owner: Type.Optional(
        Type.Union([Owner, Type.Literal('anonymous'), Type.Literal('operator')], {
          description: 'Whose. One’s own alone without the role `operate`.',
        }),
      ),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
      before: Type.Optional(
        Type.String({ pattern: '^[0-9]{1,18}$', description: 'The `next` of the list before.' }),
      ),
    },
    { additionalProperties: false },
  ),
  success: { kind: 'json', schema: TaskList, description: 'Tasks that are not deleted.' },
  errors: readErrors,
  access: 'submit',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const getTask = defineRoute({
  operationId: 'getTask',
  method: 'GET',
  path: '/api/tasks/:uid',
  tag: 'tasks',
  summary: 'Get the output of a task',
  description:
    'Answers with the output zip once the task is finished. With `wait` the request is held open until the task ends or the time is over, so that a client need not poll. A download that broke off is gone on with by `Range` and `If-Range`. Conditions and ranges count only where the answer is the zip.',
  params: TaskParams,
  query: Type.Object(
    {
      wait: Type.Optional(
        Type.Number({
          minimum: 0,
          maximum: maxTaskWaitS,
          description: 'How long to hold the request while the task has not ended (s).',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  success: { kind: 'zip', description: 'The content of /output.' },
  errors: [
    ...readErrors,
    'PRECONDITION_FAILED',
    'RANGE_NOT_SATISFIABLE',
    'TASK_PENDING',
    'TASK_FAILED',
    'OUTPUT_NOT_FOUND',
    'TASK_NOT_FOUND',
  ],
  access: 'submit',
  object: 'task',
  callers: ['public-api', 'rpc-gateway', 'operator'],
  heldForS: maxTaskWaitS,
});

export const getTaskStatus = defineRoute({
  operationId: 'getTaskStatus',
  method: 'GET',
  path: '/api/tasks/:uid/status',
  tag: 'tasks',
  summary: 'Get the state of a task and its attempts',
  params: TaskParams,
  query: NoQuery,
  success: { kind: 'json', schema: TaskStatus, description: 'The task as it is now.' },
  errors: [...readErrors, 'TASK_NOT_FOUND'],
  access: 'submit',
  object: 'task',
  callers: ['public-api', 'operator'],
});

export const cancelTask = defineRoute({
  operationId: 'cancelTask',
  method: 'POST',
  path: '/api/tasks/:uid/cancel',
  tag: 'tasks',
  summary: 'Cancel a task',
  description:
    'A waiting task is cancelled at once. The container of a running one is stopped and removed; then it is cancelled. Repeating it does no harm. A task that has ended otherwise is a 409.',
  params: TaskParams,
  query: Type.Object(
    {
      wait: Type.Optional(
        Type.Number({
          minimum: 0,
          maximum: maxTaskWaitS,
          description: 'How long to hold the request until the container is gone (s).',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  success: {
    kind: 'json',
    schema: TaskStatus,
    description: 'The task: CANCELLED, or RUNNING with `cancel_requested`.',
  },
  errors: [...readErrors, 'TASK_ENDED', 'TASK_NOT_FOUND'],
  access: 'submit',
  object: 'task',
  callers: ['public-api', 'rpc-gateway', 'operator'],
  heldForS: maxTaskWaitS,
});

export const getTaskLog = defineRoute({
  operationId: 'getTaskLog',
  method: 'GET',
  path: '/api/tasks/:uid/log',
  tag: 'tasks',
  summary: 'Get the log of a task',
  description: 'The end of what the container of the last ended attempt wrote.',
  params: TaskParams,
  query: NoQuery,
  success: {
    kind: 'text',
    description:
      'The log; empty until an attempt has ended, and of a container that wrote nothing. One that was removed when its time was over is a LOG_NOT_FOUND.',
  },
  errors: [...readErrors, 'LOG_NOT_FOUND', 'TASK_NOT_FOUND'],
  access: 'submit',
  object: 'task',
  callers: ['public-api', 'operator'],
});

export const deleteTask = defineRoute({
  operationId: 'deleteTask',
  method: 'DELETE',
  path: '/api/tasks/:uid',
  tag: 'tasks',
  summary: 'Delete a task',
  description:
    'Cancels the task when it is waiting or running, and removes its input, output and log once its container is gone. From now on it answers 554.',
  params: TaskParams,
  query: NoQuery,
  success: {
    kind: 'json',
    schema: Type.Object({ detail: Type.String() }),
    description: 'The task is gone.',
  },
  errors: [...readErrors, 'TASK_NOT_FOUND'],
  access: 'submit',
  object: 'task',
  callers: ['public-api', 'operator'],
});
