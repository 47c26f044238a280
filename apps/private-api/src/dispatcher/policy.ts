/** A waiting task, as the policy sees it. */
export interface WaitingTask {
  uid: string;
  attempt: number;
  useGpu: boolean;
  /** Who had the last attempt, which ended without a result. */
  lastConsumerId: string | null;
  /** Whether that met a fault so lately that the next attempt rather waits for another consumer. */
  shunsLast: boolean;
}

/** A consumer that takes tickets. */
export interface ReadyConsumer {
  id: string;
  hasGpu: boolean;
  /** How many tickets it may be sent now; 0: it is full. */
  room: number;
}

export interface Assignment {
  uid: string;
  attempt: number;
  consumerId: string;
}

/**
 * How long a task whose attempt met a fault waits, after its pause, for another consumer than the one
 * it met it on. As long as the longest pause: a consumer on which everything fails cannot use up a
 * task's attempts within minutes because the others are full, and a task does not wait for the end of
 * their runs, which may take days.
 */
export const elsewhereForMs = 300_000;

/**
 * Who gets which ticket. The tasks come oldest first and are served in that order; each goes to the
 * consumer with the most room that can run it, and not to the one that just lost it if there is
 * another; if that is full, what shuns the last one goes nowhere yet. Pure.
 */
export function assignTickets(
  waiting: readonly WaitingTask[],
  consumers: readonly ReadyConsumer[],
): Assignment[] {
  const room = new Map(consumers.map(({ id, room }) => [id, room]));
  const hasRoom = ({ id }: ReadyConsumer) => (room.get(id) ?? 0) > 0;
  const assignments: Assignment[] = [];
  for (const task of waiting) {
    const able = consumers.filter(({ hasGpu }) => hasGpu === task.useGpu);
    const others = able.filter(({ id }) => id !== task.lastConsumerId);
    const waits = task.shunsLast && others.length > 0;
    const [first, ...rest] = (waits || others.some(hasRoom) ? others : able).filter(hasRoom);
    if (first === undefined) continue;
    const { id: consumerId } = rest.reduce(
      (best, next) => ((room.get(next.id) ?? 0) > (room.get(best.id) ?? 0) ? next : best),
      first,
    );
    room.set(consumerId, (room.get(consumerId) ?? 0) - 1);
    assignments.push({ uid: task.uid, attempt: task.attempt, consumerId });
  }
  return assignments;
}

/**
 * The one consumer of a kind that has room while others are full: what shuns it cannot go anywhere,
 * and must not be read, since it would stand before what can. Null: there is none. When two have room,
 * the tasks that are read shun one of them at most, each: the other is filled, or all are served.
 */
export function aloneWithRoom(ofKind: readonly ReadyConsumer[]): string | null {
  const [only, ...more] = ofKind.filter(({ room }) => room > 0);
  return only !== undefined && more.length === 0 && ofKind.length > 1 ? only.id : null;
}
