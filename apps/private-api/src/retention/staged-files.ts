import type { BlobStore, ListedFile } from '@inference-server/blob-store';
import type { Database } from '../database/database.js';
import { nothing, removedInARow, type Sweep } from './sweep.js';
import { add, inSteps, sumOf } from './walk.js';

/**
 * What lies in the staging folder and is old by the disk's clock, but for uploads that are pending:
 * those may be slow, and go with their rows.
 */
export function sweepStagedFiles(
  database: Database,
  store: BlobStore,
  { orphanedAfterS, everyMs }: { orphanedAfterS: number; everyMs: number },
): Sweep {
  async function* find(signal: AbortSignal): AsyncGenerator<ListedFile[]> {
    for await (const files of store.listStaged(signal)) {
      yield await withoutUpload(files.filter(({ ageMs }) => ageMs > orphanedAfterS * 1000));
    }
  }

  const withoutUpload = async (files: ListedFile[]): Promise<ListedFile[]> => {
    if (files.length === 0) return [];
    const rows = await database.query<{ name: string }>(
      `SELECT part AS name FROM unnest($1::text[]) AS part
         JOIN blobs b ON part = b.id || '.part' AND b.state = 'pending'`,
      [files.map(({ name }) => name)],
    );
    const pending = new Set(rows.map(({ name }) => name));
    return files.filter(({ name }) => !pending.has(name));
  };

  return {
    name: 'staged-files',
    what: 'files in the staging folder that nobody writes',
    everyMs,
    waitsForDisk: true,
    look: (signal) => sumOf(find(signal)),
    take: inSteps(async function* (signal) {
      for await (const files of find(signal)) {
        do {
          const removed = files.splice(0, removedInARow);
          for (const { name } of removed) await store.removeStaged(name, signal);
          yield add(nothing, removed);
        } while (files.length > 0);
      }
    }),
  };
}
