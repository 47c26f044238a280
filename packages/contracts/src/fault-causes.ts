/**
 * What can go wrong that is not the model's doing. Each gives the task another attempt, on another
 * consumer where there is one, up to the server's limit; the pause before it doubles with each.
 */
export const faultCauses = {
  engine_away: { backOffS: 1, meaning: 'The container engine did not answer, or failed.' },
  registry_away: { backOffS: 30, meaning: 'The registry of the image did not answer.' },
  upload_failed: { backOffS: 5, meaning: 'The input or the output did not come through.' },
  disk_full: { backOffS: 30, meaning: 'The disk of the consumer or its engine is full.' },
  device_lost: { backOffS: 5, meaning: 'The device of the consumer does not work.' },
  interrupted: { backOffS: 1, meaning: 'The container was ended from outside.' },
  consumer_restarted: { backOffS: 0, meaning: 'The consumer ended before the container ran.' },
  lease_lost: { backOffS: 0, meaning: 'The consumer was not heard of any more.' },
  internal: { backOffS: 5, meaning: 'A fault of the consumer.' },
} as const satisfies Record<string, { backOffS: number; meaning: string }>;

export type FaultCause = keyof typeof faultCauses;

/** The longest pause between two attempts (s). */
export const maxBackOffS = 300;

/** The pause (s) before the attempt that follows the `faults`-th fault of a task. */
export function backOffAfter(cause: FaultCause, faults: number): number {
  return Math.min(maxBackOffS, faultCauses[cause].backOffS * 2 ** (faults - 1));
}
