import Type from 'typebox';
import { defineRoute } from '../route.js';
import { AuditActionName, AuditEvent, Refusals } from '../schemas/audit.js';
import { Time } from '../schemas/time.js';

const Named = Type.String({ minLength: 1, maxLength: 200, pattern: '^[\\x20-\\x7e]*$' });

export const exportAudit = defineRoute({
  operationId: 'exportAudit',
  method: 'GET',
  path: '/api/admin/audit',
  tag: 'access',
  summary: 'Export who did what',
  description:
    'A line of JSON for each event, in the order of `at`. An answer that breaks off ends without its last chunk. What is under way may still be added with an earlier `at`: whoever exports piece by piece asks `until` a minute ago, and `since` that the next time.',
  query: Type.Object(
    {
      since: Type.Optional(Type.String({ ...Time, description: 'Only from this time on.' })),
      until: Type.Optional(Type.String({ ...Time, description: 'Only before this time.' })),
      by: Type.Optional(
        Type.String({ ...Named, description: 'Only of this `owner` or `credential`.' }),
      ),
      action: Type.Optional(AuditActionName),
      object: Type.Optional(Type.String({ ...Named, description: 'Only of this `object_id`.' })),
    },
    { additionalProperties: false },
  ),
  success: { kind: 'lines', schema: AuditEvent, description: 'The events.' },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED', 'DUPLICATE_PARAMETER'],
  access: 'admin',
  object: 'none',
  callers: ['public-api', 'operator'],
});

export const noteRefusals = defineRoute({
  operationId: 'noteRefusals',
  method: 'POST',
  path: '/internal/audit/refusals',
  tag: 'access',
  summary: 'Tell of attempts that a door has refused',
  body: { kind: 'json', schema: Refusals },
  success: {
    kind: 'json',
    schema: Type.Object({ noted: Type.Integer() }),
    description: 'They are written down.',
  },
  errors: ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'],
  access: 'internal',
  object: 'none',
  callers: ['public-api', 'rpc-gateway'],
});
