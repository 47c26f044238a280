/** What a test file has to give back, in the order in which it was taken. */
const pending: { what: string; release: () => Promise<void> }[] = [];

/** Has `release` called when the test file has ended, before what was registered earlier. */
export function whenFileEnds(what: string, release: () => Promise<void>): void {
  pending.push({ what, release });
}

/** Gives everything back, the last first; every failure is told, none stops the others. */
export async function releaseAll(): Promise<void> {
  const failures: Error[] = [];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    try {
      await next.release();
    } catch (error) {
      failures.push(new Error(`${next.what}: ${String(error)}`, { cause: error }));
    }
  }
  const [first, second] = failures;
  if (second === undefined && first !== undefined) throw first;
  if (second !== undefined) {
    const text = failures.map(({ message }) => message).join('\n');
    throw new AggregateError(failures, text);
  }
}
