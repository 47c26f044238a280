import {
  partOf,
  roundingError,
  type Capacity,
  type ModelKind,
  type Needs,
} from '@inference-server/contracts';

/** A consumer that takes tickets. */
export interface ReadyConsumer extends Capacity {
  id: string;
}

/** What the tasks with a ticket for a consumer, those that run on it, and its replicas take of it. */
export interface Book {
  readonly consumer: ReadyConsumer;
  /** How many take a place of its slots: on a GPU a replica does. */
  readonly tasks: number;
  /** How many of them came after the one of this `seq`. */
  youngerThan(seq: number): number;
  /** Whether there is room for anything. */
  readonly isFull: boolean;
  /** How many more with these needs it has room for. */
  roomFor(needs: Needs, kind?: ModelKind): number;
  /** How tight it would be then: the less is left, the better. */
  leftAfter(needs: Needs, kind?: ModelKind): number;
  enter(task: { seq: number; needs: Needs }): void;
  enterReplica(needs: Needs): void;
}

export function openBook(consumer: ReadyConsumer): Book {
  const { slots, device, share } = consumer;
  const seqs: number[] = [];
  const taken = { tasks: 0, gpuMemoryMib: 0, cpus: 0, memoryMib: 0, isAlone: false };
  const takesSlot = (kind: ModelKind) => kind === 'batch' || device !== null;
  const take = (needs: Needs, kind: ModelKind): void => {
    const part = partOf(needs, consumer, kind);
    if (takesSlot(kind)) taken.tasks += 1;
    taken.gpuMemoryMib += part.gpuMemoryMib;
    taken.cpus += part.cpus;
    taken.memoryMib += part.memoryMib;
    taken.isAlone ||= part.isAlone;
  };
  return {
    consumer,
    get tasks() {
      return taken.tasks;
    },
    youngerThan: (seq) => seqs.filter((other) => other > seq).length,
    get isFull() {
      return taken.isAlone || taken.tasks >= slots;
    },
    roomFor(needs, kind = 'batch') {
      const part = partOf(needs, consumer, kind);
      if (taken.isAlone || (part.isAlone && taken.tasks > 0)) return 0;
      const times = (whole: number, of: number, each: number) =>
        each === 0 ? Infinity : Math.floor((whole - of) / each + roundingError);
      return Math.max(
        0,
        Math.min(
          part.isAlone ? 1 : Infinity,
          takesSlot(kind) ? slots - taken.tasks : Infinity,
          times(device?.memory_mib ?? Infinity, taken.gpuMemoryMib, part.gpuMemoryMib),
          times(share.cpus, taken.cpus, part.cpus),
          times(share.memory_mib, taken.memoryMib, part.memoryMib),
        ),
      );
    },
    leftAfter(needs, kind = 'batch') {
      if (device === null && kind === 'runtime') {
        return share.memory_mib - taken.memoryMib - partOf(needs, consumer, kind).memoryMib;
      }
      if (device === null) return -(slots - taken.tasks);
      // Its word does not tell where it fits: the largest device is the safest.
      if (needs.gpu_memory_exceeded) return -(device.memory_mib ?? 0);
      const { gpuMemoryMib } = partOf(needs, consumer, kind);
      return (device.memory_mib ?? 0) - taken.gpuMemoryMib - gpuMemoryMib;
    },
    enter({ seq, needs }) {
      seqs.push(seq);
      take(needs, 'batch');
    },
    enterReplica: (needs) => take(needs, 'runtime'),
  };
}
