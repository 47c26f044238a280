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

const dueOf = (table: string, since: string): string => `
  SELECT ctid AS place, 0 AS bytes FROM ${table}
   WHERE ${since} <= now() - $1 * interval '1 second'
   ORDER BY ${since}`;
