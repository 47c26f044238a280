import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** What containers wrote, of attempts that ended so long ago. The attempt itself stays. */
export function sweepLogs(
  database: Database,
  { logRetentionS, everyMs }: { logRetentionS: number; everyMs: number },
): Sweep {
  const due = `
    SELECT ctid AS place, octet_length(log) AS bytes FROM attempts
     WHERE log IS NOT NULL AND ended_at <= now() - $1 * interval '1 second'
     ORDER BY ended_at`;
  return createRowSweep(database, {
    name: 'logs',
    what: 'logs of attempts',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        UPDATE attempts a SET log = NULL FROM due
         WHERE a.ctid = ANY(ARRAY(SELECT place FROM due)) AND a.ctid = due.place
        RETURNING due.bytes)`,
    values: [logRetentionS],
  });
}
