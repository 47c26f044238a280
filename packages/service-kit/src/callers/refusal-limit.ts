import { AppError } from '@inference-server/errors';
import { isLoopbackAddress, networkOf } from '../addresses.js';

const windowMs = 60_000;
/** Networks that are remembered at a time; the one whose window began first goes. */
const most = 10_000;

/** How much that opens nothing one address may show in a minute. */
export interface RefusalLimit {
  /** Throws TOO_MANY_REQUESTS where that was shown. */
  requireFew(address: string): void;
  count(address: string): void;
}

/**
 * Counts in this process alone, which is for doors without Redis: where there are several of them, each lets
 * as much through. This machine is not counted. `limit` 0: any number.
 */
export function createRefusalLimit(limit: number): RefusalLimit {
  const windows = new Map<string, { endsAt: number; used: number }>();
  const isCounted = (address: string) => limit > 0 && !isLoopbackAddress(address);

  function windowOf(network: string): { endsAt: number; used: number } | undefined {
    const window = windows.get(network);
    if (window === undefined || performance.now() < window.endsAt) return window;
    windows.delete(network);
    return undefined;
  }

  return {
    requireFew(address) {
      if (!isCounted(address)) return;
      const window = windowOf(networkOf(address));
      if (window === undefined || window.used < limit) return;
      const leftS = Math.max(1, Math.ceil((window.endsAt - performance.now()) / 1000));
      throw new AppError(
        'TOO_MANY_REQUESTS',
        `More than ${limit} in ${windowMs / 1000} s (refusals-per-address): ask again in ${leftS} s.`,
        { retryAfterS: leftS },
      );
    },

    count(address) {
      if (!isCounted(address)) return;
      const network = networkOf(address);
      const window = windowOf(network);
      if (window !== undefined) {
        window.used += 1;
        return;
      }
      if (windows.size >= most) windows.delete(windows.keys().next().value ?? '');
      windows.set(network, { endsAt: performance.now() + windowMs, used: 1 });
    },
  };
}
