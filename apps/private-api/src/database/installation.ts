import { AppError } from '@inference-server/errors';
import type { Database } from './database.js';

/** The id of this database, which marks everything that we create elsewhere. */
export interface Installation {
  /** Made by whoever asks first. */
  id(): Promise<string>;
  /** Undefined: nobody has asked yet. */
  known(): Promise<string | undefined>;
}

export function createInstallation(database: Database, newId: () => string): Installation {
  const known = async (): Promise<string | undefined> => {
    const [row] = await database.query<{ id: string }>('SELECT id FROM installations');
    return row?.id;
  };
  return {
    known,
    async id() {
      const first = await known();
      if (first !== undefined) return first;
      await database.query(
        `INSERT INTO installations (id) VALUES ($1) ON CONFLICT (singleton) DO NOTHING`,
        [newId()],
      );
      const id = await known();
      if (id === undefined) throw new AppError('INTERNAL', 'the installation has no row');
      return id;
    },
  };
}
