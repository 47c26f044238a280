import { createByteBudget, type ByteBudget } from './limits.js';

/** What the messages of one connection take that are not there whole. */
export interface PartRoom {
  /** So much, in all. False: there is no room. */
  hold(bytes: number): boolean;
  held(): number;
}

/**
 * Who is trusted takes of the budget of all. Strangers have a small one of their own, where the oldest makes way for
 * those that come: half a message that never becomes a whole one keeps nobody out.
 */
export function createPartRooms({
  budget,
  strangerBytes,
}: {
  budget: ByteBudget;
  /** Of all strangers together. */
  strangerBytes: number;
}) {
  const ofStrangers = createByteBudget(strangerBytes);
  /** In the order in which they began. */
  const strangers = new Map<PartRoom, () => void>();

  function cutOldest(): PartRoom | undefined {
    const [oldest] = strangers;
    const [room, cut] = oldest ?? [];
    room?.hold(0);
    cut?.();
    return room;
  }

  return {
    open({ isTrusted, cut }: { isTrusted: () => boolean; cut: () => void }): PartRoom {
      let from = budget;
      let held = 0;
      const room: PartRoom = {
        held: () => held,
        hold(bytes) {
          if (held === 0) from = isTrusted() ? budget : ofStrangers;
          const isStranger = from === ofStrangers;
          while (bytes > held && !from.take(bytes - held)) {
            if (!isStranger || (cutOldest() ?? room) === room) return false;
          }
          if (bytes < held) from.give(held - bytes);
          held = bytes;
          if (isStranger && held > 0) strangers.set(room, cut);
          else strangers.delete(room);
          return true;
        },
      };
      return room;
    },
  };
}
