import type {
  AuditAction,
  AuditEvent,
  CallerIdentity,
  NamedObject,
  Refusal,
} from '@inference-server/contracts';
import type { Database, Queryable } from '../../database/database.js';

export type AuditRepository = ReturnType<typeof createAuditRepository>;

export type Actor = Pick<CallerIdentity, 'owner' | 'credential' | 'address'>;

/** What the server does by itself, when it starts. */
export const atTheStart: Actor = { owner: 'operator', credential: 'start', address: 'none' };

export interface Done {
  by: Actor;
  action: AuditAction;
  object: { kind: NamedObject; id: string | null };
  details?: Record<string, unknown>;
}

/** Which events are asked for; null: any. Times in s since 1970. */
export interface AuditSelection {
  since: number | null;
  until: number | null;
  by: string | null;
  action: AuditAction | null;
  object: string | null;
}

/** In the transaction of what is done: either both are there, or neither. */
export async function writeAudit(
  on: Queryable,
  { by, action, object, details = {} }: Done,
): Promise<void> {
  await on.query(
    `INSERT INTO audit_events (action, owner, credential, address, object_kind, object_id, details)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [action, by.owner, by.credential, by.address, object.kind, object.id, JSON.stringify(details)],
  );
}

export function createAuditRepository(database: Database) {
  return {
    write: (done: Done) => writeAudit(database, done),

    async writeRefusals(refusals: readonly Refusal[]): Promise<void> {
      await database.query(
        `INSERT INTO audit_events
           (action, owner, credential, address, object_kind, object_id, refusal, times)
         SELECT 'refused_attempt', owner, credential, address, 'route', operation_id, code, times
           FROM jsonb_to_recordset($1::jsonb) AS r(
             owner text, credential text, address text, operation_id text, code text, times int)`,
        [JSON.stringify(refusals)],
      );
    },

    /**
     * In the order of their times. A statement looks at {@link pageSize} rows, however few are asked
     * for: it is short, holds nothing between two, and memory does not grow with their number.
     */
    async *read({
      since,
      until,
      by,
      action,
      object,
    }: AuditSelection): AsyncGenerator<AuditEvent[]> {
      let last: Pick<EventRow, 'place' | 'id' | 'looked'> | undefined;
      do {
        const { place = null, id = null } = last ?? {};
        const values = [place, id, since, until, by, action, object];
        const rows = await database.query<EventRow>(page, values);
        const asked = rows.filter(({ is_asked }) => is_asked);
        if (asked.length > 0) yield asked.map(toEvent);
        last = rows.at(-1);
        // What is written from then on is not waited for.
      } while (last?.looked === pageSize);
    },
  };
}

/** Rows that are looked at at a time. */
const pageSize = 2_000;

/** The last row of the page is told in any case: it says where the next one begins. */
const page = `
  WITH page AS (
    SELECT *, row_number() OVER (ORDER BY at, id)::int AS nth, count(*) OVER ()::int AS looked
      FROM (
        SELECT * FROM audit_events
         WHERE (at, id) > (coalesce($1::timestamptz, '-infinity'), coalesce($2::bigint, 0))
           AND at >= coalesce(to_timestamp($3::float8), '-infinity')
           AND at < coalesce(to_timestamp($4::float8), 'infinity')
         ORDER BY at, id LIMIT ${pageSize}) AS rows),
  judged AS (
    SELECT *, ($5::text IS NULL OR owner = $5 OR credential = $5)
          AND ($6::text IS NULL OR action = $6)
          AND ($7::text IS NULL OR coalesce(object_id = $7, false)) AS is_asked
      FROM page)
  SELECT id::text, at::text AS place, at, action, owner, credential, address, object_kind, object_id,
         details, refusal, times, is_asked, looked
    FROM judged WHERE is_asked OR nth = looked ORDER BY nth`;

type EventRow = Omit<AuditEvent, 'at'> & {
  at: Date;
  /** The same to the microsecond. */
  place: string;
  is_asked: boolean;
  looked: number;
};

function toEvent({ place, is_asked, looked, at, ...event }: EventRow): AuditEvent {
  void [place, is_asked, looked];
  const { id, ...rest } = event;
  return { id, at: at.toISOString(), ...rest };
}
