import type { BlobStore } from '@inference-server/blob-store';
import type { Logger } from '@inference-server/service-kit';
import type { Database } from '../database/database.js';
import { batchSize, nothing, type Sweep } from './sweep.js';
import { add, inSteps, sumOf } from './walk.js';

/** How many are named in the log; all are counted. */
const maxNamed = 20;

/**
 * Stored blobs whose file is not there, or is not as long as it was. Nothing is taken: what the rows
 * say was lost is a fault that somebody has to look at (a disk that is not mounted, a folder that was
 * restored), and no row is changed on a guess.
 */
export function sweepLostFiles(
  database: Database,
  store: BlobStore,
  { everyMs, logger }: { everyMs: number; logger: Logger },
): Sweep {
  async function* find(signal: AbortSignal): AsyncGenerator<StoredRow[]> {
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const rows = await database.query<StoredRow>(
        `SELECT id, bytes::float8 AS bytes FROM blobs
          WHERE state = 'stored' AND id > $1::uuid ORDER BY id LIMIT $2`,
        [after, batchSize],
      );
      const sizes = await Promise.all(rows.map(({ id }) => store.size(id, signal)));
      const lost = rows.filter(({ bytes }, at) => sizes[at] !== bytes);
      // One that was removed meanwhile is not lost.
      yield lost.length === 0 ? [] : await stillStored(lost);
      const last = rows.at(-1);
      if (last === undefined || rows.length < batchSize) return;
      after = last.id;
    }
  }

  const stillStored = async (lost: StoredRow[]): Promise<StoredRow[]> =>
    database.query<StoredRow>(
      `SELECT id, bytes::float8 AS bytes FROM blobs
        WHERE state = 'stored' AND id = ANY($1::uuid[])`,
      [lost.map(({ id }) => id)],
    );

  return {
    name: 'lost-files',
    what: 'stored blobs without their file: nothing is removed',
    everyMs,
    waitsForDisk: true,
    look: (signal) => sumOf(find(signal)),
    take: inSteps(async function* (signal) {
      let all = nothing;
      for await (const rows of find(signal)) {
        for (const { id } of rows.slice(0, Math.max(0, maxNamed - all.count))) {
          logger.error({ blob: id }, 'the file of a stored blob is lost');
        }
        all = add(all, rows);
        yield add(nothing, rows);
      }
      if (all.count > 0) logger.error(all, 'files of stored blobs are lost');
    }),
  };
}

interface StoredRow {
  id: string;
  bytes: number;
}
