/**
 * What can go wrong that is not the model's doing. Each gives the task another attempt, on another
 * consumer where there is one, up to the server's limit. (The model's own doings are the failure
 * reasons: none of them gives another attempt unless the model asks for it.)
 *
 * `backOffS`: the pause before the next attempt, twice as long with each fault of the task.
 * `ofConsumer`: whether another consumer need not have it; one that meets such faults again and again
 * takes no tasks for a while. All others lie on the way to it, or came from outside.
 */
export const faultCauses = {
  engine_away: {
    backOffS: 1,
    ofConsumer: true,
    meaning: 'The container engine did not answer, or failed.',
  },
  registry_away: {
    backOffS: 30,
    ofConsumer: false,
    meaning: 'The registry of the image did not answer.',
  },
  upload_failed: {
    backOffS: 5,
    ofConsumer: false,
    meaning: 'The input or the output did not come through.',
  },
  disk_full: {
    backOffS: 30,
    ofConsumer: true,
    meaning: 'The disk of the consumer or its engine is full.',
  },
  device_lost: {
    backOffS: 5,
    ofConsumer: true,
    meaning: 'The device of the consumer does not work.',
  },
  interrupted: {
    backOffS: 1,
    ofConsumer: false,
    meaning: 'The container was ended from outside.',
  },
  consumer_restarted: {
    backOffS: 0,
    ofConsumer: false,
    meaning: 'The consumer ended before the container ran.',
  },
  lease_lost: {
    backOffS: 0,
    ofConsumer: false,
    meaning: 'The consumer was not heard of any more.',
  },
  internal: { backOffS: 5, ofConsumer: true, meaning: 'A fault of the consumer.' },
} as const satisfies Record<string, { backOffS: number; ofConsumer: boolean; meaning: string }>;

export type FaultCause = keyof typeof faultCauses;

/** The longest pause between two attempts (s). */
export const maxBackOffS = 300;

/** The pause (s) before the attempt that follows the `faults`-th fault of a task. */
export function backOffAfter(cause: FaultCause, faults: number): number {
  return Math.min(maxBackOffS, faultCauses[cause].backOffS * 2 ** (faults - 1));
}
