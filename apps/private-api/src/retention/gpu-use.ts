import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** Days of use that count towards nothing any more. */
const keptDays = 30;

/** How long GPUs were had on days that are long over. */
export function sweepGpuUse(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT ctid AS place, 0 AS bytes FROM gpu_use
     WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::int
     ORDER BY day`;
  return createRowSweep(database, {
    name: 'gpu-use',
    what: 'counts of GPU seconds of days that are long over',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM gpu_use WHERE ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [keptDays],
  });
}
