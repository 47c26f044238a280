import { networkOf } from '@inference-server/service-kit';
import type { Database } from '../../database/database.js';
import type { Login } from './login-failures.js';

export type LoginPlaces = ReturnType<typeof createLoginPlaces>;

/** For so long after a login (s) a person is known at its address. */
export const placesCountS = 30 * 24 * 3600;

/** Where people have logged in from: there nobody else’s failures keep them out. */
export function createLoginPlaces(database: Database) {
  return {
    async note({ userName, address }: Login): Promise<void> {
      await database.query(
        `INSERT INTO login_places (user_name, network, logged_in_at) VALUES ($1, $2, now())
         ON CONFLICT (user_name, network) DO UPDATE SET logged_in_at = now()`,
        [userName, networkOf(address)],
      );
    },

    async isKnown({ userName, address }: Login): Promise<boolean> {
      const rows = await database.query(
        `SELECT 1 FROM login_places
          WHERE user_name = $1 AND network = $2 AND logged_in_at > now() - $3 * interval '1 second'`,
        [userName, networkOf(address), placesCountS],
      );
      return rows.length > 0;
    },
  };
}
