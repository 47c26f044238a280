/** A signal that aborts with the first of several, until it is let go. */
export interface JoinedSignal {
  signal: AbortSignal;
  release(): void;
}

/**
 * In place of AbortSignal.any where one of the signals lives as long as the process, because that keeps
 * a trace of every signal it was ever joined with; and where one is an AbortSignal.timeout, because a
 * collection of garbage may take that away before it aborts (nodejs/node#57867; seen on 20.20: renewals
 * that were never answered).
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
