import Type, { type Static } from 'typebox';
import { CallerIdentity } from '../caller-identity.js';

/** What is written down of what people and programs do from outside; of reading only downloads. */
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
  'cancel_task',
  'delete_task',
  'drain_consumer',
  'resume_consumer',
  'call',
] as const;
export type AuditAction = (typeof auditActions)[number];

const { owner, credential, address } = CallerIdentity.properties;

/** A line of the export. */
export const AuditEvent = Type.Object({
  id: Type.String({ pattern: '^[0-9]+$' }),
  at: Type.String({ format: 'date-time' }),
  action: Type.Enum([...auditActions], {
    description: '`call`: an attempt that was refused before it was known to be anything else.',
  }),
  owner,
  credential,
  address,
  object_kind: Type.String(),
  object_id: Type.Union([Type.String(), Type.Null()]),
  refusal: Type.Union([Type.String(), Type.Null()], {
    description: 'Of what was refused: the code of the error.',
  }),
  times: Type.Integer({ minimum: 1, description: 'How often, within about a second.' }),
});
export type AuditEvent = Static<typeof AuditEvent>;

/** An attempt that a door has refused. */
export const Refusal = Type.Object({
  credential,
  address,
  operation_id: Type.String({ maxLength: 100 }),
  code: Type.String({ maxLength: 100 }),
  times: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
});
export type Refusal = Static<typeof Refusal>;

/** How many a door tells of at once. */
export const maxRefusals = 1_000;
export const Refusals = Type.Object({
  refusals: Type.Array(Refusal, { minItems: 1, maxItems: maxRefusals }),
});
