/** Has what many send go by a line in turns. */
export interface Turns {
  /** Waits for a turn of one who may have several; what it gives is to be called once that is over. */
  take(line: string, who: object, signal: AbortSignal): Promise<() => void>;
}

interface Line {
  running: number;
  /** By who it is, that whose turn is next at the front. */
  waiting: Map<object, Set<() => void>>;
}

/** At most `most` of a line at a time, one of each after the other: who sends much waits for itself. */
export function createTurns(most: number): Turns {
  const lines = new Map<string, Line>();

  function leave(name: string, line: Line): void {
    const [next] = line.waiting;
    if (next !== undefined) {
      // The place is the next one's at once.
      const [who, ones] = next;
      const [begin] = ones;
      line.waiting.delete(who);
      if (ones.size > 1) line.waiting.set(who, ones);
      begin?.();
      return;
    }
    line.running -= 1;
    if (line.running === 0) lines.delete(name);
  }

  return {
    async take(name, who, signal) {
      signal.throwIfAborted();
      const line = lines.get(name) ?? { running: 0, waiting: new Map<object, Set<() => void>>() };
      lines.set(name, line);
      if (line.running >= most) await turnIn(line, who, signal);
      else line.running += 1;
      return () => leave(name, line);
    },
  };
}

function turnIn({ waiting }: Line, who: object, signal: AbortSignal): Promise<void> {
  const ones = waiting.get(who) ?? new Set<() => void>();
  waiting.set(who, ones);
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      ones.delete(begin);
      if (ones.size === 0 && waiting.get(who) === ones) waiting.delete(who);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const begin = () => end(resolve);
    const onAbort = () => end(() => reject(signal.reason as Error));
    ones.add(begin);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
