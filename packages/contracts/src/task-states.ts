/**
 * The states of a task and the events that move it, as one table.
 *
 *              ┌── fault, lease lost, given back, retry of the model's (attempt + 1, up to a limit) ──┐
 *              ▼                                                                                      │
 *   PENDING ──ticket──▶ QUEUED ──claim──▶ RUNNING ──output accepted──▶ FINISHED
 *      ▲                  │                  ├── the model failed, or the limit ──▶ FAILED
 *      └──ticket returned─┘                  │
 *      └──────────────────┴── the lost holder is heard of again ──▶ RUNNING (attempt − 1)
 *      └── cancel ────────┴── cancel, once the container is gone ──▶ CANCELLED
 *      └── queue time over ──▶ EXPIRED
 *
 * The statements that move a row are made of this table (private-api's transitions.ts): none names
 * the states of its event by itself.
 */
export const taskStates = [
  'PENDING',
  'QUEUED',
  'RUNNING',
  'FINISHED',
  'FAILED',
  'CANCELLED',
  'EXPIRED',
] as const;

export type TaskState = (typeof taskStates)[number];

export type TaskEvent =
  | 'ticket_sent'
  | 'ticket_returned'
  | 'claimed'
  | 'output_accepted'
  | 'attempt_retried'
  | 'attempt_resumed'
  | 'attempt_failed'
  | 'cancelled'
  | 'queue_time_over';

export const taskTransitions: Record<TaskEvent, { from: readonly TaskState[]; to: TaskState }> = {
  ticket_sent: { from: ['PENDING'], to: 'QUEUED' },
  ticket_returned: { from: ['QUEUED'], to: 'PENDING' },
  claimed: { from: ['QUEUED'], to: 'RUNNING' },
  output_accepted: { from: ['RUNNING'], to: 'FINISHED' },
  attempt_retried: { from: ['RUNNING'], to: 'PENDING' },
  attempt_resumed: { from: ['PENDING', 'QUEUED'], to: 'RUNNING' },
  attempt_failed: { from: ['RUNNING'], to: 'FAILED' },
  cancelled: { from: ['PENDING', 'QUEUED', 'RUNNING'], to: 'CANCELLED' },
  queue_time_over: { from: ['PENDING', 'QUEUED'], to: 'EXPIRED' },
};

/** The state after `event`, or undefined when the event does not apply to `state`. */
export function nextTaskState(state: TaskState, event: TaskEvent): TaskState | undefined {
  const transition = taskTransitions[event];
  return transition.from.includes(state) ? transition.to : undefined;
}

/** An ended task never changes its state again. */
export function isEnded(state: TaskState): boolean {
  return !Object.values(taskTransitions).some(({ from }) => from.includes(state));
}
