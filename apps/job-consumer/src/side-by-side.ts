import { joinSignals } from '@inference-server/service-kit';

/**
 * Does several things at once. The first failure aborts the others' signal; it is thrown when all
 * have come to rest, so that nothing goes on behind the caller's back.
 */
export async function sideBySide<First, Second>(
  signal: AbortSignal,
  first: (signal: AbortSignal) => Promise<First>,
  second: (signal: AbortSignal) => Promise<Second>,
): Promise<[First, Second]> {
  const stop = new AbortController();
  const bounds = joinSignals(signal, stop.signal);
  let failure: { error: unknown } | undefined;
  const guarded = async <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    try {
      return await work(bounds.signal);
    } catch (error) {
      failure ??= { error };
      stop.abort(error);
      throw error;
    }
  };
  const [one, two] = await Promise.allSettled([guarded(first), guarded(second)]);
  bounds.release();
  if (one.status === 'fulfilled' && two.status === 'fulfilled') return [one.value, two.value];
  throw failure?.error as Error;
}
