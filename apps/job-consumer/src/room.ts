import {
  partOf,
  roundingError,
  type Capacity,
  type ModelKind,
  type Needs,
  type Part,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/**
 * The places of a consumer, and what the runs on them take of it: by what is under way here, whatever
 * private-api's books say. A container that it gave up, but that is not gone yet, still has its device.
 */
export interface Room {
  /** Whether a newcomer may take a place now. */
  readonly isOpen: boolean;
  setOpen(open: boolean): void;
  /** Resolves once a run may come: rejects with the signal's reason. */
  waitForPlace(signal: AbortSignal): Promise<void>;
  /** Resolves once anything may be begun: rejects with the signal's reason. */
  waitUntilOpen(signal: AbortSignal): Promise<void>;
  /** `runtime`: of a replica, which on a CPU consumer has none of the places that there are for tasks. */
  takePlace(kind?: ModelKind): Place;
}

/** Of one run, from before its claim (or of one replica, from its order) until nothing runs any more. */
export interface Place {
  /** Takes what the run needs, as soon as that is free. Rejects with the signal's reason, and INTERNAL for what is more than there is. */
  fill(needs: Needs, signal: AbortSignal): Promise<void>;
  /** It runs already: it has what it has. Null: nobody knows what that is, it may be all of a device. */
  occupy(needs: Needs | null): void;
  /** Gives it back; doing it twice is fine. */
  free(): void;
}

export function createRoom(capacity: Pick<Capacity, 'slots' | 'device' | 'share'>): Room {
  const { slots, device, share } = capacity;
  /** By place; undefined: its run has nothing yet. */
  const parts = new Map<Place, Part | undefined>();
  /** Those that are none of a task's. */
  const beside = new Set<Place>();
  const taken = () => [...parts.values()].filter((part) => part !== undefined);
  let open = false;
  let waiting: (() => void)[] = [];
  const changed = () => {
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };

  const fits = (part: Part, others: readonly Part[] = taken()): boolean => {
    if (device !== null && others.length > 0 && (part.isAlone || others.some((o) => o.isAlone))) {
      return false;
    }
    const sumOf = (amountOf: (of: Part) => number) =>
      [part, ...others].reduce((sum, of) => sum + amountOf(of), -roundingError);
    return (
      sumOf((of) => of.gpuMemoryMib) <= (device?.memory_mib ?? Infinity) &&
      sumOf((of) => of.cpus) <= share.cpus &&
      sumOf((of) => of.memoryMib) <= share.memory_mib
    );
  };

  /** Asks again with every change. */
  const until = async (holds: () => boolean, signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    while (!holds()) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        waiting.push(wake);
        signal.addEventListener('abort', wake);
      });
      signal.throwIfAborted();
    }
  };

  return {
    get isOpen() {
      return open;
    },
    setOpen(value) {
      open = value;
      changed();
    },
    waitForPlace: (signal) =>
      until(
        () => open && parts.size - beside.size < slots && !taken().some(({ isAlone }) => isAlone),
        signal,
      ),
    waitUntilOpen: (signal) => until(() => open, signal),
    takePlace(kind = 'batch') {
      const place: Place = {
        async fill(needs, signal) {
          const part = partOf(needs, capacity, kind);
          if (!fits(part, []))
            throw new AppError('INTERNAL', 'It needs more than this consumer has.');
          await until(() => {
            if (!fits(part)) return false;
            // At once: another may be let in by the same change.
            parts.set(place, part);
            return true;
          }, signal);
        },
        occupy(needs) {
          parts.set(place, needs === null ? wholeOf(capacity) : partOf(needs, capacity, kind));
          changed();
        },
        free() {
          beside.delete(place);
          if (parts.delete(place)) changed();
        },
      };
      parts.set(place, undefined);
      if (kind === 'runtime' && device === null) beside.add(place);
      return place;
    },
  };
}

/** What a run may have of which nobody knows more: all of a device, or a place's part of a host. */
function wholeOf({ slots, device, share }: Pick<Capacity, 'slots' | 'device' | 'share'>): Part {
  return {
    isAlone: device !== null,
    gpuMemoryMib: 0,
    cpus: share.cpus / slots,
    memoryMib: share.memory_mib / slots,
  };
}
