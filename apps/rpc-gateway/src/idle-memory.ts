import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ByteBudget } from '@inference-server/grpc';

/** After fewer bytes of messages it is not worth its while. */
const worthwhileBytes = 16 * 1024 ** 2;
/** Nothing was held for so long (ms): a pause of some 20 ms holds nobody up. */
const restMs = 1_000;

/**
 * The same budget; what messages took is given back to the system once nothing is held any more. V8 looks for
 * garbage as it needs memory, so a process that rests would keep the last messages (measured on Node 20: 64 MiB for
 * as long as it rested).
 */
export function returnIdleMemory(
  budget: ByteBudget & { readonly held: number },
  collect = exposedCollector(),
): ByteBudget & { close(): void } {
  let taken = 0;
  let rest: NodeJS.Timeout | undefined;

  function onRest(): void {
    rest = undefined;
    if (budget.held > 0) return;
    taken = 0;
    collect();
  }

  return {
    take(bytes) {
      if (!budget.take(bytes)) return false;
      taken += bytes;
      return true;
    },
    give(bytes) {
      budget.give(bytes);
      if (budget.held > 0 || taken < worthwhileBytes) return;
      rest ??= setTimeout(onRest, restMs);
      rest.refresh();
    },
    close: () => clearTimeout(rest),
  };
}

function exposedCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
