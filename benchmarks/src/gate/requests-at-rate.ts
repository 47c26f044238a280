import type { Scene } from '../scene.js';

export interface TimedRequest {
  /** When it was due. */
  at: number;
  /** From then to its answer. */
  ms: number;
}

export interface RequestsAtRate {
  /** Those that were due from `since` on, once all of them are answered. */
  since(since: number): Promise<TimedRequest[]>;
}

/**
 * Asks `perSecond` times a second until the scene ends, whether earlier answers are there or not: a
 * server that stands still shows in every request that it keeps waiting. A failed one fails `since`.
 */
export function requestAtRate(
  scene: Scene,
  perSecond: number,
  ask: () => Promise<void>,
): RequestsAtRate {
  const answered: Promise<TimedRequest>[] = [];
  const began = performance.now();
  let due = 0;
  const timer = setInterval(() => {
    for (; began + (due * 1000) / perSecond <= performance.now(); due += 1) {
      const at = began + (due * 1000) / perSecond;
      const answer = ask().then(() => ({ at, ms: performance.now() - at }));
      answer.catch(() => undefined);
      answered.push(answer);
    }
  }, 1);
  scene.onEnd(async () => {
    clearInterval(timer);
    await Promise.allSettled(answered);
  });
  return {
    async since(since) {
      const all = await Promise.all(answered);
      return all.filter(({ at }) => at >= since);
    },
  };
}
