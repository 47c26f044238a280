/**
 * Reads what many ask for at once: whoever asks gets what was read after they asked, and those that ask
 * while a read is under way share the next one. So there is one read at a time, however many wait.
 */
export function createFreshReader<Read>(read: () => Promise<Read>): () => Promise<Read> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<Read> | undefined;

  const begin = (): Promise<Read> => {
    next = undefined;
    return read();
  };
  return () => {
    if (next !== undefined) return next;
    next = last.then(begin, begin);
    last = next;
    return next;
  };
}
