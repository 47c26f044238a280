import type { Database } from '../database/database.js';
import { batchSize, type Amount, type Sweep } from './sweep.js';

/**
 * A sweep of rows. `due` selects what is due, with its `bytes`; `take` is a list of WITH queries, the
 * first of which may be named `due` again and the last `taken`: what was taken, with its `bytes`.
 * Both get `values` and, after them, the most that may be selected: null for `due` alone.
 */
export function createRowSweep(
  database: Database,
  sweep: Pick<Sweep, 'name' | 'what' | 'everyMs'> & {
    due: string;
    take: string;
    values: readonly unknown[];
  },
): Sweep {
  const { due, take, values, ...named } = sweep;
  const amountOf = async (statement: string, limit: number | null): Promise<Amount> => {
    const [row] = await database.query<Amount>(statement, [...values, limit]);
    return row ?? { count: 0, bytes: 0 };
  };
  return {
    ...named,
    look: () => amountOf(`SELECT ${amount} FROM (${due}) AS due`, null),
    async take() {
      const taken = await amountOf(`WITH ${take} SELECT ${amount} FROM taken`, batchSize);
      return { ...taken, more: taken.count === batchSize };
    },
  };
}

const amount = `count(*)::int AS count, coalesce(sum(bytes), 0)::float8 AS bytes`;
