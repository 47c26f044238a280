import { AppError } from '@inference-server/errors';
import { networkOf } from '@inference-server/service-kit';
import { createTurns } from './core/turns.js';

/** Of one network; private-api has little room for more that wait. */
const atOnce = 2;
/** With those that wait here: of one network, and of all. */
const most = { ofNetwork: 64, ofAll: 256 };

/** Has logins of one network wait for each other, where private-api would refuse them for coming together. */
export interface LoginTurns {
  /** Throws TOO_MANY_REQUESTS, or the signal's reason. */
  inTurn<Result>(
    address: string,
    signal: AbortSignal,
    logIn: () => Promise<Result>,
  ): Promise<Result>;
}

export function createLoginTurns(): LoginTurns {
  const turns = createTurns(atOnce);
  const perNetwork = new Map<string, number>();
  let all = 0;

  function count(network: string, by: 1 | -1): void {
    const now = (perNetwork.get(network) ?? 0) + by;
    if (now > 0) perNetwork.set(network, now);
    else perNetwork.delete(network);
    all += by;
  }

  return {
    async inTurn(address, signal, logIn) {
      const network = networkOf(address);
      if (all >= most.ofAll || (perNetwork.get(network) ?? 0) >= most.ofNetwork) {
        throw new AppError('TOO_MANY_REQUESTS', 'Too many log in at once.', { retryAfterS: 2 });
      }
      count(network, 1);
      let leave: (() => void) | undefined;
      try {
        leave = await turns.take(network, {}, signal);
        return await logIn();
      } finally {
        leave?.();
        count(network, -1);
      }
    },
  };
}
