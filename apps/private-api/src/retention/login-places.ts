import type { Database } from '../database/database.js';
import { placesCountS } from '../modules/callers/login-places.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** Addresses from which somebody has not logged in for long. */
export function sweepLoginPlaces(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT ctid AS place, 0 AS bytes FROM login_places
     WHERE logged_in_at <= now() - $1 * interval '1 second'
     ORDER BY logged_in_at`;
  return createRowSweep(database, {
    name: 'login-places',
    what: 'addresses of logins that are long ago',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM login_places WHERE ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [placesCountS],
  });
}
