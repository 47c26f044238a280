import { createByteBudget, type ByteBudget } from './limits.js';

/** What the part of a message takes that a connection waits for. */
export interface PartRoom {
  /** So much of it is here, of a part of so many bytes. False: there is no room. */
  hold(bytes: number, whole: number): boolean;
  release(): void;
}

/**
 * Who is trusted takes of the budget of all, a part of it at most, and at once what the whole part takes: of many that
 * are half there, none would become whole. Strangers have a small budget of their own, of which each takes what is
 * there; the oldest makes way for those that come: half a message that never becomes a whole one keeps nobody out.
 */
export function createPartRooms({
  budget,
  trustedBytes,
  strangerBytes,
}: {
  budget: ByteBudget;
  /** Of all who are trusted together, and of all strangers. */
  trustedBytes: number;
  strangerBytes: number;
}) {
  const ofTrusted = within(budget, trustedBytes);
  const ofStrangers = createByteBudget(strangerBytes);
  /** In the order in which they began. */
  const strangers = new Map<PartRoom, () => void>();

  function cutOldest(): PartRoom | undefined {
    const [oldest] = strangers;
    const [room, cut] = oldest ?? [];
    room?.release();
    cut?.();
    return room;
  }

  return {
    open({ isTrusted, cut }: { isTrusted: () => boolean; cut: () => void }): PartRoom {
      let from: ByteBudget = ofTrusted;
      let held = 0;
      const room: PartRoom = {
        hold(bytes, whole) {
          if (bytes === 0) return true;
          if (held === 0) from = isTrusted() ? ofTrusted : ofStrangers;
          const isStranger = from === ofStrangers;
          const wanted = isStranger ? bytes : whole;
          while (wanted > held && !from.take(wanted - held)) {
            if (!isStranger || (cutOldest() ?? room) === room) return false;
          }
          held = wanted;
          if (isStranger) strangers.set(room, cut);
          return true;
        },
        release() {
          if (held > 0) from.give(held);
          held = 0;
          strangers.delete(room);
        },
      };
      return room;
    },
  };
}

/** A part of a budget. */
function within(budget: ByteBudget, maxBytes: number): ByteBudget {
  const part = createByteBudget(maxBytes);
  return {
    take(bytes) {
      if (!part.take(bytes)) return false;
      if (budget.take(bytes)) return true;
      part.give(bytes);
      return false;
    },
    give(bytes) {
      part.give(bytes);
      budget.give(bytes);
    },
  };
}
