import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** What was done so long ago that nobody has to account for it. A trigger lets nobody else remove it. */
export function sweepAudit(
  database: Database,
  { everyMs, auditRetentionS }: { everyMs: number; auditRetentionS: number },
): Sweep {
  const due = `
    SELECT ctid AS place, 0 AS bytes FROM audit_events
     WHERE at <= now() - $1 * interval '1 second'
     ORDER BY at`;
  return createRowSweep(database, {
    name: 'audit',
    what: 'events of the audit whose time is over',
    everyMs,
    due,
    take: `
      sweep AS (SELECT set_config('inference_server.sweeps_audit', 'yes', true) AS is_ours),
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM audit_events
         WHERE (SELECT is_ours FROM sweep) = 'yes' AND ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [auditRetentionS],
  });
}
