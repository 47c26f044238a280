import type { Database } from '../database/database.js';
import { failuresCountS } from '../modules/callers/login-failures.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** Wrong passwords that count no more. */
export function sweepLoginFailures(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT ctid AS place, 0 AS bytes FROM login_failures
     WHERE failed_at <= now() - $1 * interval '1 second'
     ORDER BY failed_at`;
  return createRowSweep(database, {
    name: 'login-failures',
    what: 'counts of wrong passwords that have run out',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM login_failures WHERE ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [failuresCountS],
  });
}
