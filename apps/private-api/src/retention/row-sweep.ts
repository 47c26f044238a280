import type { Database } from '../database/database.js';
import { batchSize, nothing, type Amount, type Sweep } from './sweep.js';

/**
 * A sweep of rows. `due` selects all that is due, with its `bytes`; `take` is a list of WITH queries,
 * the last of them named `taken`: what was taken, with its `bytes`, at most {@link batchSize}. Rows are
 * named in arrays there: the planner takes those for short, and never reads a whole table for them.
 */
export function createRowSweep(
  database: Database,
  sweep: Pick<Sweep, 'name' | 'what' | 'everyMs' | 'afterLeadingMs'> & {
    due: string;
    take: string;
    values: readonly unknown[];
  },
): Sweep {
  const { due, take, values, ...named } = sweep;
  const amountOf = async (statement: string): Promise<Amount> => {
    const [row] = await database.query<Amount>(statement, values);
    return row ?? nothing;
  };
  return {
    ...named,
    look: () => amountOf(`SELECT ${amount} FROM (${due}) AS due`),
    async take() {
      const taken = await amountOf(`WITH ${take} SELECT ${amount} FROM taken`);
      return { ...taken, more: taken.count === batchSize };
    },
  };
}

const amount = `count(*)::int AS count, coalesce(sum(bytes), 0)::float8 AS bytes`;
