import type { Sweep as AnySweep } from '@inference-server/service-kit';

export { nothing, type Amount } from '@inference-server/service-kit';

/**
 * A sweep of rows or files. All its times are the database's, or the disk's. Every write is
 * conditional and leaves what the next pass can go on with. A `take` is short: one statement, a few
 * hundred files to look at, or {@link removedInARow}.
 */
export interface Sweep extends AnySweep {
  everyMs: number;
  /** Not before this process has led for so long: whoever the database was away for comes back first. */
  afterLeadingMs?: number;
  /** It asks the blob store, which may be slow, large or hung: it sweeps apart from the others. */
  waitsForDisk?: boolean;
}

/** How many rows a statement takes. */
export const batchSize = 500;

/** How many files a step removes one after the other: a disk may be slow, and is not hung then. */
export const removedInARow = 50;
