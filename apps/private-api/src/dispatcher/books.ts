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
  /** How many of them came after the one of this `seq`. */
  youngerThan(seq: number): number;
  /** Whether there is room for anything. */
  readonly isFull: boolean;
  /** How many more with these needs it has room for. */
  roomFor(needs: Needs): number;
  /** How tight it would be then: the less is left, the better. */
  leftAfter(needs: Needs): number;
  enter(task: { seq: number; needs: Needs }): void;
}

export function openBook(consumer: ReadyConsumer): Book {
  const { slots, device, share } = consumer;
  const seqs: number[] = [];
  const taken = { tasks: 0, gpuMemoryMib: 0, cpus: 0, memoryMib: 0, isAlone: false };
  return {
    consumer,
    get tasks() {
      return taken.tasks;
    },
    youngerThan: (seq) => seqs.filter((other) => other > seq).length,
    get isFull() {
      return taken.isAlone || taken.tasks >= slots;
    },
    roomFor(needs) {
      const part = partOf(needs, consumer);
      if (taken.isAlone || (part.isAlone && taken.tasks > 0)) return 0;
      const times = (whole: number, of: number, each: number) =>
        each === 0 ? Infinity : Math.floor((whole - of) / each + roundingError);
      return Math.max(
        0,
        Math.min(
          part.isAlone ? 1 : Infinity,
          slots - taken.tasks,
          times(device?.memory_mib ?? Infinity, taken.gpuMemoryMib, part.gpuMemoryMib),
          times(share.cpus, taken.cpus, part.cpus),
          times(share.memory_mib, taken.memoryMib, part.memoryMib),
        ),
      );
    },
    leftAfter(needs) {
      if (device === null) return -(slots - taken.tasks);
      // Its word does not tell where it fits: the largest device is the safest.
      if (needs.gpu_memory_exceeded) return -(device.memory_mib ?? 0);
      const { gpuMemoryMib } = partOf(needs, consumer);
      return (device.memory_mib ?? 0) - taken.gpuMemoryMib - gpuMemoryMib;
    },
    enter({ seq, needs }) {
      seqs.push(seq);
      const part = partOf(needs, consumer);
      taken.tasks += 1;
      taken.gpuMemoryMib += part.gpuMemoryMib;
      taken.cpus += part.cpus;
      taken.memoryMib += part.memoryMib;
      taken.isAlone ||= part.isAlone;
    },
  };
}
