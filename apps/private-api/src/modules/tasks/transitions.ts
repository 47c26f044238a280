import { taskTransitions, type TaskEvent } from '@inference-server/contracts';

/**
 * An event of the contract's table, as the statement that it happens in says it: the list of the states
 * that it moves a task from, for `state IN`, and the one that it moves it to. No such statement names a
 * state by itself.
 */
export function transition(event: TaskEvent): { from: string; to: string } {
  const { from, to } = taskTransitions[event];
  return { from: `(${from.map((state) => `'${state}'`).join(', ')})`, to: `'${to}'` };
}

/** What a task `t` is set to whose ticket comes back: it is again as its last attempt has left it. */
export const asBeforeTicket = `state = ${transition('ticket_returned').to},
  consumer_id = (SELECT a.consumer_id FROM attempts a
                  WHERE a.task_uid = t.uid AND a.number = t.attempt - 1)`;
