/** Many may wait for one answer: who goes no longer does, and the others do. */
export function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const leave = () => signal.removeEventListener('abort', onAbort);
    promise.finally(leave).then(resolve, reject);
  });
}

/** A signal that aborts so long after another one, or after now; until it is let go. */
export function endAfter(
  ms: number,
  after?: AbortSignal,
): { signal: AbortSignal; release(): void } {
  const over = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = () => (timer = setTimeout(() => over.abort(after?.reason), ms));
  if (after === undefined || after.aborted) begin();
  else after.addEventListener('abort', begin, { once: true });
  const release = () => {
    clearTimeout(timer);
    after?.removeEventListener('abort', begin);
  };
  return { signal: over.signal, release };
}
