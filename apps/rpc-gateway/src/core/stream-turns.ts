/** Has what many streams send go to their models in turns. */
export interface StreamTurns {
  /** Waits for the turn of one of a stream; what it gives is to be called once that was answered. */
  take(model: string, stream: object, signal: AbortSignal): Promise<() => void>;
}

interface Line {
  running: number;
  /** By stream, that whose turn is next at the front. */
  waiting: Map<object, Set<() => void>>;
}

/**
 * At most `most` of a model at a time, so that streams leave room in its queue for other calls, and are made to
 * wait where those would be refused. One of each stream after the other: who sends much waits for itself.
 */
export function createStreamTurns(most: number): StreamTurns {
  const lines = new Map<string, Line>();

  function leave(model: string, line: Line): void {
    const [next] = line.waiting;
    if (next !== undefined) {
      // The place is the next one's at once.
      const [stream, ones] = next;
      const [begin] = ones;
      line.waiting.delete(stream);
      if (ones.size > 1) line.waiting.set(stream, ones);
      begin?.();
      return;
    }
    line.running -= 1;
    if (line.running === 0) lines.delete(model);
  }

  return {
    async take(model, stream, signal) {
      signal.throwIfAborted();
      const line = lines.get(model) ?? { running: 0, waiting: new Map<object, Set<() => void>>() };
      lines.set(model, line);
      if (line.running >= most) await turnIn(line, stream, signal);
      else line.running += 1;
      return () => leave(model, line);
    },
  };
}

function turnIn({ waiting }: Line, stream: object, signal: AbortSignal): Promise<void> {
  const ones = waiting.get(stream) ?? new Set<() => void>();
  waiting.set(stream, ones);
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      ones.delete(begin);
      if (ones.size === 0 && waiting.get(stream) === ones) waiting.delete(stream);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const begin = () => end(resolve);
    const onAbort = () => end(() => reject(signal.reason as Error));
    ones.add(begin);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
