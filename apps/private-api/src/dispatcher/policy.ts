/** A waiting task, as the policy sees it. */
export interface WaitingTask {
  uid: string;
  attempt: number;
  useGpu: boolean;
  /** Who had the last attempt, which ended without a result. */
  lastConsumerId: string | null;
}

/** A consumer that can take tickets. */
export interface RoomyConsumer {
  id: string;
  hasGpu: boolean;
  /** How many tickets it may be sent now. */
  room: number;
}

export interface Assignment {
  uid: string;
  attempt: number;
  consumerId: string;
}

/**
 * Who gets which ticket. The tasks come oldest first and are served in that order; each goes to the
 * consumer with the most room that can run it, and not to the one that just lost it if there is
 * another. Pure.
 */
export function assignTickets(
  waiting: readonly WaitingTask[],
  consumers: readonly RoomyConsumer[],
): Assignment[] {
  const room = new Map(consumers.map(({ id, room }) => [id, room]));
  const assignments: Assignment[] = [];
  for (const task of waiting) {
    const able = consumers.filter(
      ({ id, hasGpu }) => hasGpu === task.useGpu && (room.get(id) ?? 0) > 0,
    );
    const others = able.filter(({ id }) => id !== task.lastConsumerId);
    const [first, ...rest] = others.length > 0 ? others : able;
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
