import type { ServingState } from './doors/grpc/health.js';

/** Calls are taken from the first news of private-api on, until the process stops. */
export function createServingState(): ServingState & { open(): void; close(): void } {
  const listeners = new Set<() => void>();
  let phase: 'starting' | 'serving' | 'stopping' = 'starting';
  const enter = (next: typeof phase) => {
    if (phase === next || phase === 'stopping') return;
    phase = next;
    for (const changed of [...listeners]) changed();
  };
  return {
    isServing: () => phase === 'serving',
    isStopping: () => phase === 'stopping',
    onChange(changed) {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    open: () => enter('serving'),
    close: () => enter('stopping'),
  };
}
