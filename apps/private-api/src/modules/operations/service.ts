import { greetingOf, type Greeting, type Readiness } from '@inference-server/contracts';

export type OperationsService = ReturnType<typeof createOperationsService>;

/** One look at a part that the server needs; rejects when it is down. */
export type Check = (signal: AbortSignal) => Promise<void>;

/**
 * `needed` parts: without one nothing can be answered. `awaited` parts: without one posts are
 * accepted and wait.
 */
export function createOperationsService(deps: {
  needed: Record<string, Check>;
  awaited: Record<string, Check>;
  timeoutMs: number;
  /** Anybody may ask, and a look writes to the disk: askers within this time share one. */
  rememberMs: number;
}) {
  let last: { at: number; answer: Promise<Readiness> } | undefined;
  const readiness = (): Promise<Readiness> => {
    if (last === undefined || performance.now() - last.at > deps.rememberMs) {
      last = { at: performance.now(), answer: lookAtAll() };
    }
    return last.answer;
  };

  const lookAtAll = async (): Promise<Readiness> => {
    const [needed, awaited] = await Promise.all([look(deps.needed), look(deps.awaited)]);
    const isDown = (checks: Readiness['checks']) => Object.values(checks).includes('down');
    return {
      status: isDown(needed) ? 'down' : isDown(awaited) ? 'degraded' : 'ready',
      checks: { ...needed, ...awaited },
    };
  };

  async function look(checks: Record<string, Check>): Promise<Readiness['checks']> {
    const states = Object.entries(checks).map(async ([name, check]) => {
      const signal = AbortSignal.timeout(deps.timeoutMs);
      const overdue = new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('no answer in time')));
      });
      const up = await Promise.race([check(signal), overdue]).then(
        () => 'up' as const,
        () => 'down' as const,
      );
      return [name, up] as const;
    });
    return Object.fromEntries(await Promise.all(states));
  }

  return {
    readiness,
    async greeting(): Promise<Greeting> {
      return greetingOf((await readiness()).status);
    },
  };
}
