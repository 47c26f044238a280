import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * What containers wrote, of attempts that ended so long ago as the server says, or less, as the model
 * says. From then on the log answers 553. The attempt itself stays; of an empty log there is nothing to
 * take.
 */
export function sweepLogs(
  database: Database,
  { logRetentionS, everyMs }: { logRetentionS: number; everyMs: number },
): Sweep {
  const due = (limit: string) => `
    SELECT d.place, d.bytes
      FROM (
        (SELECT ctid AS place, octet_length(log) AS bytes FROM attempts
          WHERE log <> '' AND ended_at <= now() - $1 * interval '1 second'
          ORDER BY ended_at ${limit})
        UNION
        SELECT short.place, short.bytes
          FROM model_versions v
         CROSS JOIN LATERAL (
           SELECT ctid AS place, octet_length(log) AS bytes FROM attempts
            WHERE model_version_id = v.id AND log <> ''
              AND ended_at <= now() - v.log_retention_s * interval '1 second'
            ORDER BY ended_at ${limit}) AS short
         WHERE v.log_retention_s IS NOT NULL) AS d
     ${limit}`;
  return createRowSweep(database, {
    name: 'logs',
    what: 'logs of attempts',
    everyMs,
    due: due(''),
    take: `
      due AS MATERIALIZED (${due(`LIMIT ${batchSize}`)}),
      mine AS (
        SELECT ctid AS place, octet_length(log) AS bytes FROM attempts
         WHERE ctid = ANY(ARRAY(SELECT place FROM due)) AND log IS NOT NULL
           FOR UPDATE SKIP LOCKED),
      taken AS (
        UPDATE attempts a SET log = NULL FROM mine
         WHERE a.ctid = ANY(ARRAY(SELECT place FROM mine)) AND a.ctid = mine.place
        RETURNING mine.bytes)`,
    values: [logRetentionS],
  });
}
