/**
 * A look that takes a while, made once for all who ask for it meanwhile, or within `freshForMs` after its
 * end. Whoever gives up (their signal aborts, its reason is thrown) does not end it for the others.
 */
export function shareLook<T>(
  look: (signal: AbortSignal) => Promise<T>,
  { withinMs, freshForMs = 0 }: { withinMs: number; freshForMs?: number },
): (signal: AbortSignal) => Promise<T> {
  let latest: { seen: Promise<T>; freshUntil: number } | undefined;
  return async (signal) => {
    signal.throwIfAborted();
    if (latest === undefined || performance.now() > latest.freshUntil) {
      const started = { seen: look(AbortSignal.timeout(withinMs)), freshUntil: Infinity };
      const ended = () => {
        started.freshUntil = performance.now() + freshForMs;
      };
      started.seen.then(ended, ended);
      latest = started;
    }
    const { seen } = latest;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', giveUp, { once: true });
      seen.then(resolve, reject).finally(() => {
        signal.removeEventListener('abort', giveUp);
      });
    });
  };
}
