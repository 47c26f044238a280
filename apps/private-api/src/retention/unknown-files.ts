import type { BlobStore, ListedFile } from '@inference-server/blob-store';
import type { Database } from '../database/database.js';
import { nothing, type Amount, type Sweep } from './sweep.js';

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
    async look(signal) {
      let amount = nothing;
      for await (const files of find(signal)) amount = add(amount, files);
      return amount;
    },
    async take(signal) {
      const found: ListedFile[] = [];
      for await (const files of find(signal)) {
        found.push(...files.slice(0, maxFound - found.length));
        if (found.length === maxFound) break;
      }
      const unknown = await withoutRow(found);
      for (const { name } of unknown) await store.remove(name, signal);
      return { ...add(nothing, unknown), more: found.length === maxFound && unknown.length > 0 };
    },
  };
}

/** Kept in memory between the two looks. */
const maxFound = 10_000;

export function add(amount: Amount, files: readonly { bytes: number }[]): Amount {
  return {
    count: amount.count + files.length,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, amount.bytes),
  };
}
