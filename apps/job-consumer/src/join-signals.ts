/** A signal that aborts with the first of several, until it is let go. */
export interface JoinedSignal {
  signal: AbortSignal;
  release(): void;
}

/**
 * In place of AbortSignal.any where one of the signals lives as long as the process: that keeps a
 * trace of every signal it was ever joined with.
 */
export function joinSignals(...signals: readonly AbortSignal[]): JoinedSignal {
  const joined = new AbortController();
  const listeners = signals.map((signal) => {
    const forward = () => {
      joined.abort(signal.reason);
    };
    if (signal.aborted) forward();
    else signal.addEventListener('abort', forward, { once: true });
    return { signal, forward };
  });
  return {
    signal: joined.signal,
    release: () => {
      for (const { signal, forward } of listeners) signal.removeEventListener('abort', forward);
    },
  };
}
