import { setTimeout as sleep } from 'node:timers/promises';
import { askStatus, type Address } from './ask-status.js';

/**
 * Resolves once a runtime serves, undefined, or else after `withinMs`, with what kept it from that when it was last
 * asked. Rejects with the signal's reason.
 */
export async function untilServing(
  address: Address,
  withinMs: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const end = performance.now() + withinMs;
  for (let pauseMs = 20; ; pauseMs = Math.min(1.5 * pauseMs, longestPauseMs)) {
    const lack = await askStatus(address, signal);
    if (lack === undefined) return undefined;
    if (performance.now() + pauseMs > end) return lack;
    await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

const longestPauseMs = 500;
