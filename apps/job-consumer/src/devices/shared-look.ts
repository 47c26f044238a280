/** How old what somebody is shown may be. */
export interface SharedLook<T> {
  /** A look that is under way, or has ended a while ago, will do. */
  ask(signal: AbortSignal): Promise<T>;
  /** It must have begun after this call. */
  askAnew(signal: AbortSignal): Promise<T>;
}

/**
 * A look that takes a while, made once for all who ask for it meanwhile, or within `freshForMs` after its
 * end. Whoever gives up (their signal aborts, its reason is thrown) does not end it for the others.
 */
export function shareLook<T>(
  look: (signal: AbortSignal) => Promise<T>,
  { withinMs, freshForMs = 0 }: { withinMs: number; freshForMs?: number },
): SharedLook<T> {
  interface Look {
    seen: Promise<T>;
    begunAt: number;
    freshUntil: number;
  }
  let latest: Look | undefined;
  const begin = (): Look => {
    const begun = {
      seen: look(AbortSignal.timeout(withinMs)),
      begunAt: performance.now(),
      freshUntil: Infinity,
    };
    const ended = () => {
      begun.freshUntil = performance.now() + freshForMs;
    };
    begun.seen.then(ended, ended);
    return (latest = begun);
  };
  const lookFor = (isOld: boolean): Look => (isOld ? begin() : (latest ?? begin()));
  return {
    async ask(signal) {
      signal.throwIfAborted();
      const isOld = latest === undefined || performance.now() > latest.freshUntil;
      return unlessAborted(lookFor(isOld).seen, signal);
    },
    async askAnew(signal) {
      signal.throwIfAborted();
      const calledAt = performance.now();
      if (latest?.freshUntil === Infinity) {
        await unlessAborted(
          latest.seen.catch(() => undefined),
          signal,
        );
      }
      const isOld = latest === undefined || latest.begunAt < calledAt;
      return unlessAborted(lookFor(isOld).seen, signal);
    },
  };
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', giveUp, { once: true });
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', giveUp);
    });
  });
}
