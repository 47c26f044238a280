import { partOf, roundingError, type Capacity, type Needs } from '@inference-server/contracts';

/** A consumer that takes tickets. */
export interface ReadyConsumer extends Capacity {
  id: string;
}

/** What the tasks with a ticket for a consumer, and those that run on it, take of it. */
export interface Book {
  readonly consumer: ReadyConsumer;
  /** How many they are. */
  readonly tasks: number;
  /** How many more of the smallest there could be. */
  readonly freeSlots: number;
  hasRoomFor(needs: Needs): boolean;
  /** How tight it would be then: the less is left, the better. */
  leftAfter(needs: Needs): number;
  enter(needs: Needs): void;
}

export function openBook(consumer: ReadyConsumer): Book {
  const { slots, device, share } = consumer;
  const taken = { tasks: 0, gpuMemoryMib: 0, cpus: 0, memoryMib: 0, isAlone: false };
  return {
    consumer,
    get tasks() {
      return taken.tasks;
    },
    get freeSlots() {
      return taken.isAlone ? 0 : Math.max(0, slots - taken.tasks);
    },
    hasRoomFor(needs) {
      const part = partOf(needs, consumer);
      if (taken.tasks >= slots || taken.isAlone || (part.isAlone && taken.tasks > 0)) return false;
      return (
        taken.gpuMemoryMib + part.gpuMemoryMib <= (device?.memory_mib ?? Infinity) &&
        taken.cpus + part.cpus <= share.cpus + roundingError &&
        taken.memoryMib + part.memoryMib <= share.memory_mib + roundingError
      );
    },
    leftAfter(needs) {
      if (device === null) return -(slots - taken.tasks);
      const { gpuMemoryMib } = partOf(needs, consumer);
      return (device.memory_mib ?? 0) - taken.gpuMemoryMib - gpuMemoryMib;
    },
    enter(needs) {
      const part = partOf(needs, consumer);
      taken.tasks += 1;
      taken.gpuMemoryMib += part.gpuMemoryMib;
      taken.cpus += part.cpus;
      taken.memoryMib += part.memoryMib;
      taken.isAlone ||= part.isAlone;
    },
  };
}
