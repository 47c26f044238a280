import type {
  AuditAction,
  AuditEvent,
  CallerIdentity,
  NamedObject,
  Refusal,
} from '@inference-server/contracts';
import type { Database, Queryable } from '../../database/database.js';

export type AuditRepository = ReturnType<typeof createAuditRepository>;

export interface AuditSelection {
  after: string | null;
  from: string | null;
  to: string | null;
  limit: number;
}

/** Of an event that was done, or refused with a code. */
export interface Done {
  by: Pick<CallerIdentity, 'owner' | 'credential' | 'address'>;
  action: AuditAction;
  object: { kind: NamedObject; id: string | null };
  refusal?: string;
}

/** In the transaction of what is done: either both are there, or neither. */
export async function writeAudit(
  on: Queryable,
  { by, action, object, refusal }: Done,
): Promise<void> {
  await on.query(
    `INSERT INTO audit_events (action, owner, credential, address, object_kind, object_id, refusal)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [action, by.owner, by.credential, by.address, object.kind, object.id, refusal ?? null],
  );
}

/** Rows that are read at a time. */
const pageSize = 1_000;

export function createAuditRepository(database: Database) {
  return {
    write: (done: Done) => writeAudit(database, done),

    async writeRefusals(refusals: readonly Refusal[]): Promise<void> {
      await database.query(
        `INSERT INTO audit_events (action, owner, credential, address, object_kind, object_id, refusal, times)
         SELECT 'call', credential, credential, address, 'route', operation_id, code, times
           FROM jsonb_to_recordset($1::jsonb) AS r(
             credential text, address text, operation_id text, code text, times int)`,
        [JSON.stringify(refusals)],
      );
    },

    /** The oldest first. Memory does not grow with their number. */
    async *read({ after, from, to, limit }: AuditSelection): AsyncGenerator<AuditEvent[]> {
      let last = after ?? '0';
      for (let left = limit; left > 0; ) {
        const rows = await database.query<EventRow>(
          `SELECT id::text, at, action, owner, credential, address, object_kind, object_id, refusal, times
             FROM audit_events
            WHERE id > $1::bigint AND ($2::timestamptz IS NULL OR at >= $2)
              AND ($3::timestamptz IS NULL OR at < $3)
            ORDER BY id LIMIT $4`,
          [last, from, to, Math.min(left, pageSize)],
        );
        if (rows.length === 0) return;
        yield rows.map((row) => ({ ...row, at: row.at.toISOString() }));
        last = rows.at(-1)?.id ?? last;
        left -= rows.length;
      }
    },
  };
}

type EventRow = Omit<AuditEvent, 'at'> & { at: Date };
