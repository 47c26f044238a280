import Type from 'typebox';
import { defineRoute } from '../route.js';
import { Refusals } from '../schemas/audit.js';

const Time = Type.String({ format: 'date-time' });

export const exportAudit = defineRoute({
  operationId: 'exportAudit',
  method: 'GET',
  path: '/api/admin/audit',
  tag: 'access',
  summary: 'Export who did what',
  description:
    'Lines of JSON (`AuditEvent`), the oldest first: `id`, `at`, `action`, `owner`, `credential`, `address`, `object_kind`, `object_id`, `refusal`, `times`. To go on, ask for what comes `after` the last `id`.',
  query: Type.Object(
    {
      after: Type.Optional(
        Type.String({ pattern: '^[0-9]{1,18}$', description: 'Only what has a higher id.' }),
      ),
      from: Type.Optional(Type.String({ ...Time, description: 'Only from this time on.' })),
      to: Type.Optional(Type.String({ ...Time, description: 'Only before this time.' })),
      limit: Type.Optional(
        Type.Integer({ minimum: 1, maximum: 1_000_000, default: 100_000 }),
      ),
    },
    { additionalProperties: false },
  ),
  success: { kind: 'lines', description: 'A line of JSON for each event.' },
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
