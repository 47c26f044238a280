import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks `check` every `everyMs` until it says yes (true) or `timeoutMs` are over (false). Throws the
 * reason of `signal` when it aborts.
 */
export async function waitUntil(
  check: () => boolean | Promise<boolean>,
  {
    timeoutMs,
    everyMs = 50,
    signal,
  }: { timeoutMs: number; everyMs?: number; signal?: AbortSignal },
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    if (await check()) return true;
    if (performance.now() >= deadline) return false;
    await sleep(everyMs, undefined, signal === undefined ? {} : { signal });
  }
}
