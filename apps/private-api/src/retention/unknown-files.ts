import type { BlobStore, ListedFile } from '@inference-server/blob-store';
import type { Database } from '../database/database.js';
import { nothing, removedInARow, type Amount, type Sweep } from './sweep.js';
import { add, inSteps, sumOf } from './walk.js';

/**
 * Files that no row knows: of a process that was stopped for so long that its upload was given up, and
 * that then went on; or of a row that was removed by hand. A row is there before its file, so a file
 * without one is nobody's; it goes when it is old by the disk's clock, and a second look at the rows,
 * after its whole folder was listed, finds none again. A walk that is given up has removed what it came by.
 */
export function sweepUnknownFiles(
  database: Database,
  store: BlobStore,
  { orphanedAfterS, everyMs }: { orphanedAfterS: number; everyMs: number },
): Sweep {
  const unknownOf = (files: ListedFile[]): Promise<ListedFile[]> =>
    withoutRow(files.filter(({ ageMs }) => ageMs > orphanedAfterS * 1000));

  const withoutRow = async (files: ListedFile[]): Promise<ListedFile[]> => {
    if (files.length === 0) return [];
    const rows = await database.query<{ id: string }>(
      `SELECT id FROM blobs WHERE id = ANY($1::uuid[])`,
      [files.map(({ name }) => name)],
    );
    const known = new Set(rows.map(({ id }) => id));
    return files.filter(({ name }) => !known.has(name));
  };

  async function* find(signal: AbortSignal): AsyncGenerator<ListedFile[]> {
    for await (const files of store.list(signal)) yield await unknownOf(files);
  }

  async function* remove(found: ListedFile[], signal: AbortSignal): AsyncGenerator<Amount> {
    while (found.length > 0) {
      const unknown = await withoutRow(found.splice(0, removedInARow));
      for (const { name } of unknown) await store.remove(name, signal);
      yield add(nothing, unknown);
    }
  }

  return {
    name: 'unknown-files',
    what: 'files that no row knows',
    everyMs,
    waitsForDisk: true,
    look: (signal) => sumOf(find(signal)),
    take: inSteps(async function* (signal) {
      const found: ListedFile[] = [];
      let folder: string | undefined;
      for await (const files of store.list(signal)) {
        const next = folderOf(files);
        if (next !== folder || found.length > maxFound) yield* remove(found, signal);
        folder = next;
        found.push(...(await unknownOf(files)));
        yield nothing;
      }
      yield* remove(found, signal);
    }),
  };
}

/** What a store lists together begins alike, mostly. */
function folderOf([first]: ListedFile[]): string | undefined {
  return first?.name.slice(0, 2);
}

/** Kept in memory between the two looks. */
const maxFound = 10_000;
