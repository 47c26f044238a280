import Type, { type Static } from 'typebox';
import { CallerIdentity } from '../caller-identity.js';
import { errorCodes, type ErrorCode } from '../codes.js';
import { Time } from './time.js';

/** What is written down of what people and programs do from outside; of reading only what models gave. */
export const auditActions = [
  'create_key',
  'revoke_key',
  'put_user',
  'lock_user',
  'log_in',
  'issue_token',
  'register_model',
  'put_model',
  'delete_model',
  'post_task',
  'download_output',
  'read_log',
  'cancel_task',
  'delete_task',
  'export_audit',
  'drain_consumer',
  'resume_consumer',
  'refused_attempt',
] as const;
export type AuditAction = (typeof auditActions)[number];

const { owner, credential, address } = CallerIdentity.properties;

export const AuditActionName = Type.Enum([...auditActions]);

/** A line of the export. */
export const AuditEvent = Type.Object({
  id: Type.String({ pattern: '^[0-9]+$', description: 'Of this event alone.' }),
  at: Type.String({ ...Time, description: 'By the clock of the database.' }),
  action: AuditActionName,
  owner: Type.String({ ...owner, description: 'Who: `unknown` when nobody known was named.' }),
  credential: Type.String({ ...credential, description: 'What was shown for it.' }),
  address: Type.String({ ...address, description: 'The network address of the caller.' }),
  object_kind: Type.Enum(['none', 'task', 'model', 'consumer', 'key', 'user', 'route']),
  object_id: Type.Union([Type.String(), Type.Null()], {
    description: 'What it was done to. Of a refused attempt: the `operationId` of the route.',
  }),
  details: Type.Record(Type.String(), Type.Unknown(), {
    description: 'More of it: the role that was given, the model of a task, the image of a model.',
  }),
  refusal: Type.Union([Type.String(), Type.Null()], {
    description: 'Of a refused attempt: the code of the error.',
  }),
  times: Type.Integer({
    minimum: 1,
    description: 'Of refused attempts that are alike: how many, in the minute before `at`.',
  }),
});
export type AuditEvent = Static<typeof AuditEvent>;

/** Attempts that a door has refused, and that are alike. */
export const Refusal = Type.Object(
  {
    owner,
    credential,
    address,
    operation_id: Type.String({ pattern: '^[A-Za-z]{1,60}$' }),
    code: Type.Enum(Object.keys(errorCodes) as ErrorCode[]),
    times: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
  },
  { additionalProperties: false },
);
export type Refusal = Static<typeof Refusal>;

/** How many a door tells of at once. */
export const maxRefusals = 300;
export const Refusals = Type.Object(
  { refusals: Type.Array(Refusal, { minItems: 1, maxItems: maxRefusals }) },
  { additionalProperties: false },
);
