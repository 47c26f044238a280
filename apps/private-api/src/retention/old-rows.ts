import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** A sweep that removes the rows of a table that are as old, the oldest first. */
export function sweepOldRows(
  database: Database,
  sweep: Pick<Sweep, 'name' | 'what' | 'everyMs'> & {
    table: string;
    /** Its column that tells since when; there is an index that begins with it. */
    since: string;
    ageS: number;
  },
): Sweep {
  const { table, since, ageS, ...named } = sweep;
  const due = dueOf(table, since);
  return createRowSweep(database, {
    ...named,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [ageS],
  });
}

/** What was done so long ago that nobody has to account for it: the table has a way of its own for that. */
export function sweepAudit(
  database: Database,
  { everyMs, auditRetentionS }: { everyMs: number; auditRetentionS: number },
): Sweep {
  return createRowSweep(database, {
    name: 'audit',
    what: 'events of the audit whose time is over',
    everyMs,
    due: dueOf('audit_events', 'at'),
    take: `
      removed AS MATERIALIZED (SELECT remove_audit_events($1, ${batchSize}) AS count),
      taken AS (SELECT 0 AS bytes FROM removed, generate_series(1, removed.count))`,
    values: [auditRetentionS],
  });
}

const dueOf = (table: string, since: string): string => `
  SELECT ctid AS place, 0 AS bytes FROM ${table}
   WHERE ${since} <= now() - $1 * interval '1 second'
   ORDER BY ${since}`;
