/** A number of places for attempts, which can be closed to newcomers. */
export interface Slots {
  /** Whether a newcomer may take a place now. */
  readonly isOpen: boolean;
  setOpen(open: boolean): void;
  /** Resolves once there is a free place and the slots are open; rejects with the signal's reason. */
  waitForRoom(signal: AbortSignal): Promise<void>;
  /** Takes a place; what is returned gives it back, once. */
  take(): () => void;
}

export function createSlots(count: number): Slots {
  let taken = 0;
  let open = false;
  let waiting: (() => void)[] = [];
  const changed = () => {
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };
  const nextChange = (signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      waiting.push(wake);
      signal.addEventListener('abort', wake);
    });
  return {
    get isOpen() {
      return open;
    },
    setOpen(value) {
      open = value;
      changed();
    },
    async waitForRoom(signal) {
      signal.throwIfAborted();
      while (!open || taken >= count) {
        await nextChange(signal);
        signal.throwIfAborted();
      }
    },
    take() {
      taken += 1;
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        taken -= 1;
        changed();
      };
    },
  };
}
