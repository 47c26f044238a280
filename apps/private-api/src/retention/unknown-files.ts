import type { BlobStore, ListedFile } from '@inference-server/blob-store';
import type { Database } from '../database/database.js';
import { batchSize, nothing, type Sweep } from './sweep.js';
import { add, inSteps, sumOf } from './walk.js';

/**
 * Files that no row knows: of a process that was stopped for so long that its upload was given up, and
 * that then went on; or of a row that was removed by hand. A row is there before its file, so a file
 * without one is nobody's; it goes when it is old by the disk's clock, and a second look at the rows,
 * after the whole store was listed, finds none again.
 */
export function sweepUnknownFiles(
  database: Database,
  store: BlobStore,
  { orphanedAfterS, everyMs }: { orphanedAfterS: number; everyMs: number },
): Sweep {
  async function* find(signal: AbortSignal): AsyncGenerator<ListedFile[]> {
    for await (const files of store.list(signal)) {
      yield await withoutRow(files.filter(({ ageMs }) => ageMs > orphanedAfterS * 1000));
    }
  }

  const withoutRow = async (files: ListedFile[]): Promise<ListedFile[]> => {
    if (files.length === 0) return [];
    const rows = await database.query<{ id: string }>(
      `SELECT id FROM blobs WHERE id = ANY($1::uuid[])`,
      [files.map(({ name }) => name)],
    );
    const known = new Set(rows.map(({ id }) => id));
    return files.filter(({ name }) => !known.has(name));
  };

  return {
    name: 'unknown-files',
    what: 'files that no row knows',
    everyMs,
    isWalk: true,
    look: (signal) => sumOf(find(signal)),
    take: inSteps(async function* (signal) {
      for (let removed = true; removed;) {
        const found: ListedFile[] = [];
        for await (const files of find(signal)) {
          found.push(...files.slice(0, maxFound - found.length));
          if (found.length === maxFound) break;
          yield nothing;
        }
        // There are more of them: once more through the store, unless it would find the same.
        removed = false;
        const isAll = found.length < maxFound;
        while (found.length > 0) {
          const unknown = await withoutRow(found.splice(0, batchSize));
          for (const { name } of unknown) await store.remove(name, signal);
          removed ||= unknown.length > 0 && !isAll;
          yield add(nothing, unknown);
        }
      }
    }),
  };
}

/** Kept in memory between the two looks. */
const maxFound = 10_000;
