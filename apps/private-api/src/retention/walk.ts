import { nothing, type Amount, type Sweep } from './sweep.js';

/**
 * The `take` of a sweep that goes through all that is stored: each call goes one step of the `walk`, and
 * what the walk took of it is the answer. A walk that fails, or whose signal aborts, is given up: the
 * next call begins another.
 */
export function inSteps(
  walk: (signal: AbortSignal) => AsyncGenerator<Amount, void>,
): Sweep['take'] {
  interface Walk {
    steps: AsyncGenerator<Amount, void>;
    end(): void;
  }
  let underWay: Walk | undefined;

  const begin = (signal: AbortSignal): Walk => {
    const steps = walk(signal);
    const begun: Walk = {
      steps,
      end() {
        signal.removeEventListener('abort', begun.end);
        if (underWay === begun) underWay = undefined;
        // Closes what it has open; a step that is under way ends by itself first.
        steps.return().catch(() => undefined);
      },
    };
    signal.addEventListener('abort', begun.end);
    return begun;
  };

  return async (signal) => {
    signal.throwIfAborted();
    const { steps, end } = (underWay ??= begin(signal));
    try {
      const step = await steps.next();
      if (step.done !== true) return { ...step.value, more: true };
      end();
      return { ...nothing, more: false };
    } catch (error) {
      end();
      throw error;
    }
  };
}

/** All that `batches` bring. */
export async function sumOf(batches: AsyncIterable<readonly { bytes: number }[]>): Promise<Amount> {
  let sum = nothing;
  for await (const batch of batches) sum = add(sum, batch);
  return sum;
}

export function add(amount: Amount, files: readonly { bytes: number }[]): Amount {
  return {
    count: amount.count + files.length,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, amount.bytes),
  };
}
