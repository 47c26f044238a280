import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '@inference-server/errors';

/**
 * Repeats an idempotent call while its failure is one that passes, for `forMs` at most. Throws the
 * last failure, or the signal's reason.
 */
export async function retryPassing<T>(
  call: () => Promise<T>,
  options: {
    signal: AbortSignal;
    forMs: number;
    passes?: (error: unknown) => boolean;
    onRetry?: (error: unknown) => void;
  },
): Promise<T> {
  const { signal, forMs, passes = isPassing, onRetry } = options;
  const started = performance.now();
  for (let pauseMs = 200; ; pauseMs = Math.min(2 * pauseMs, 5_000)) {
    try {
      return await call();
    } catch (error) {
      const left = forMs - (performance.now() - started);
      if (signal.aborted || !passes(error) || left < pauseMs) throw error;
      onRetry?.(error);
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** A service that is away or overloaded, or failed in a way that it does not tell. */
export function isPassing(error: unknown): boolean {
  return error instanceof AppError && (error.retryable || error.code === 'INTERNAL');
}
