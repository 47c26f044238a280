import type { Database } from '../../database/database.js';

/** At most a twentieth of the time of an owner goes into counting. */
const countedForMs = (tookMs: number) => 20 * tookMs;
/** Owners whose count is kept. */
const most = 1_000;

interface Count {
  bytes: number;
  since: number;
  tookMs: number;
}

/**
 * What each owner has stored: inputs, outputs, files of models, large contents of
 * invocations, and what `elsewhere` counts. The sum is read from an index, some
 * 70 ms for a million zips, and kept for twenty times as long as that took; meanwhile what this process
 * adds is added. Those who ask together share one count.
 */
export function createStoredBytes(
  database: Database,
  elsewhere: (owner: string) => Promise<number>,
) {
  const kept = new Map<string, Count>();
  const counting = new Map<string, Promise<Count>>();

  async function count(owner: string): Promise<Count> {
    const since = performance.now();
    const [row] = await database.query<{ bytes: number }>(
      `SELECT coalesce(sum(bytes), 0)::float8 AS bytes FROM blobs WHERE owner = $1 AND state = 'stored'`,
      [owner],
    );
    const bytes = (row?.bytes ?? 0) + (await elsewhere(owner));
    const counted = { bytes, since, tookMs: performance.now() - since };
    kept.delete(owner);
    if (kept.size >= most) kept.delete(kept.keys().next().value ?? '');
    kept.set(owner, counted);
    return counted;
  }

  return {
    async of(owner: string): Promise<number> {
      const known = kept.get(owner);
      if (known !== undefined && performance.now() - known.since < countedForMs(known.tookMs)) {
        return known.bytes;
      }
      const under = counting.get(owner);
      if (under !== undefined) return (await under).bytes;
      const anew = count(owner).finally(() => counting.delete(owner));
      counting.set(owner, anew);
      return (await anew).bytes;
    },

    /** Before the rows show it. */
    add(owner: string, bytes: number): void {
      const known = kept.get(owner);
      if (known !== undefined) known.bytes += bytes;
    },
  };
}
