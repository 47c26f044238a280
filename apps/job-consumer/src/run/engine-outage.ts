import { isEngineProblem } from '@inference-server/container-engine';
import { retryPassing } from '../retry.js';

/**
 * Repeats a call to the engine while it does not answer, or fails, for half a minute: what a container
 * has done is not thrown away for a connection that broke, or for an engine that is restarted. The call
 * must be one that does no harm when it was carried out before and only its answer was lost.
 */
export async function outlastEngineOutage<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  return retryPassing(call, { signal, forMs: outageMs, passes: isEngineOutage });
}

export function isEngineOutage(error: unknown): boolean {
  return isEngineProblem(error, 'unreachable', 'overdue', 'failed');
}

const outageMs = 30_000;
