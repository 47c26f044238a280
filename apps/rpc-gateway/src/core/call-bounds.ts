import { AppError } from '@inference-server/errors';

export interface CallBounds {
  signal: AbortSignal;
  deadlineAt: number;
  release(): void;
}

/** The time that a call has: the caller's, and no more than `maxCallMs`. It ends with the caller too. */
export function boundCall(
  { signal, deadlineAt: wanted }: { signal: AbortSignal; deadlineAt: number | undefined },
  maxCallMs: number,
): CallBounds {
  const now = performance.now();
  const deadlineAt = Math.min(wanted ?? Infinity, now + maxCallMs);
  const over = new AbortController();
  const onAbort = () => over.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => over.abort(isLate()), Math.max(deadlineAt - now, 0));
  return {
    signal: over.signal,
    deadlineAt,
    release() {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}

export function isLate(): AppError {
  return new AppError('DEADLINE_EXCEEDED', 'The call was not answered in time.');
}
