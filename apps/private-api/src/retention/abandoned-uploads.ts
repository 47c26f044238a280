import type { Database } from '../database/database.js';
import { leaderValues, leadsSteadily, type LeaderRow } from '../database/leader.js';
import { toldOfEveryMs } from '../modules/blobs/under-way.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * Pending blobs of which no process has been heard for so long: the upload died with its process. The
 * output of an attempt that runs, or whose holder may come back to it, waits for its settlement. The
 * row becomes `deleting`, so that nobody can begin to refer to it; then the files may go. The leader's own
 * row is asked by the statement itself; without a `leader` the sweep is one by hand.
 */
export function sweepAbandonedUploads(
  database: Database,
  given: { abandonedAfterS: number; everyMs: number; leader: LeaderRow | undefined },
): Sweep {
  const { abandonedAfterS, everyMs, leader } = given;
  // After an outage every upload that goes on is told of first.
  const afterLeadingMs = 3 * toldOfEveryMs(abandonedAfterS);
  const due = `
    SELECT b.id, b.bytes FROM blobs b
     WHERE b.state = 'pending' AND b.touched_at <= now() - $4 * interval '1 second'
       AND ($1::text IS NULL OR ${leadsSteadily})
       AND NOT EXISTS (
         SELECT FROM attempts a JOIN tasks t ON t.uid = a.task_uid
          WHERE a.output_blob_id = b.id
            AND (a.ended_at IS NULL OR (a.outcome = 'lost' AND t.ended_at IS NULL)))
     ORDER BY b.touched_at`;
  return createRowSweep(database, {
    name: 'abandoned-uploads',
    what: 'uploads that nobody goes on with',
    everyMs,
    afterLeadingMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE OF b SKIP LOCKED),
      taken AS (
        UPDATE blobs SET state = 'deleting', touched_at = now()
         WHERE id = ANY(ARRAY(SELECT id FROM due)) AND state = 'pending'
        RETURNING bytes)`,
    values: [
      ...(leader === undefined
        ? [null, null, null]
        : leaderValues({ ...leader, forMs: afterLeadingMs })),
      abandonedAfterS,
    ],
  });
}
