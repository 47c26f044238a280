import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ByteBudget } from '@inference-server/grpc';

/** Less than this is not looked for (bytes). */
const worthwhileBytes = 16 * 1024 ** 2;
/** Nothing was held for so long (ms): a pause of some 20 ms holds nobody up. */
const restMs = 1_000;

/**
 * The same budget; what large messages took is given back to the system once nothing is held any more. V8 looks
 * for garbage as it needs memory, so a process that rests would keep the last messages (measured on Node 20: 64 MiB
 * for as long as it rested).
 */
export function returnIdleMemory(budget: ByteBudget & { readonly held: number }): ByteBudget & {
  close(): void;
} {
  const collect = exposedCollector();
  let most = 0;
  let rest: NodeJS.Timeout | undefined;

  function onRest(): void {
    rest = undefined;
    if (budget.held > 0) return;
    most = 0;
    collect();
  }

  return {
    take(bytes) {
      if (!budget.take(bytes)) return false;
      most = Math.max(most, budget.held);
      return true;
    },
    give(bytes) {
      budget.give(bytes);
      if (budget.held > 0 || most < worthwhileBytes) return;
      clearTimeout(rest);
      rest = setTimeout(onRest, restMs);
    },
    close: () => clearTimeout(rest),
  };
}

function exposedCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
