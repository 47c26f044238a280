import type { ProcessEnd } from '@inference-server/local-services';
import { waitUntil } from '@inference-server/local-services';

/** How a process of the world has ended, and what had been asked of it. */
export interface EndedProcess extends ProcessEnd {
  name: string;
  pid: number;
  /** One of our apps, not a service that they stand on. */
  isOurs: boolean;
  /** Unix time, ms. */
  endedAt: number;
  /** By us; undefined: it has ended by itself. */
  asked: { signal: NodeJS.Signals; at: number } | undefined;
  /** It did not end within its bound. */
  hadToBeKilled: boolean;
  /** Another one of its name was started beside it. */
  wasReplaced: boolean;
  /** Of its log, the oldest first. */
  lastLines: readonly string[];
}

/** A process whose end goes into the account, whoever has caused it. */
export interface Supervised {
  readonly pid: number;
  readonly hasEnded: boolean;
  /** Resolves when its end is in the account. */
  readonly ended: Promise<ProcessEnd>;
  /** Its successor runs beside it from now on. */
  replaced(): void;
  /**
   * Sends the signal and waits for the end, for `withinMs` at most: then it is killed. Throws when even
   * that does not end it.
   */
  end(signal: NodeJS.Signals): Promise<ProcessEnd>;
}

export interface SupervisedSpec {
  name: string;
  isOurs: boolean;
  process: { readonly pid: number; readonly ended: Promise<ProcessEnd> };
  withinMs: number;
  lastLines(): readonly string[] | Promise<readonly string[]>;
  onEnd(end: EndedProcess): void;
}

const killedWithinMs = 30_000;

export function supervise(spec: SupervisedSpec): Supervised {
  const { name, isOurs, withinMs } = spec;
  const { pid } = spec.process;
  let asked: EndedProcess['asked'];
  let hadToBeKilled = false;
  let wasReplaced = false;
  let hasEnded = false;
  const ended = spec.process.ended.then(async (end) => {
    hasEnded = true;
    const what = { name, pid, isOurs, endedAt: Date.now(), asked, hadToBeKilled, wasReplaced };
    spec.onEnd({ ...what, ...end, lastLines: await spec.lastLines() });
    return end;
  });
  const send = (signal: NodeJS.Signals) => {
    try {
      if (!hasEnded) process.kill(pid, signal);
    } catch {
      // It has ended this moment.
    }
  };
  const within = (ms: number) => waitUntil(() => hasEnded, { timeoutMs: ms, everyMs: 10 });
  return {
    pid,
    get hasEnded() {
      return hasEnded;
    },
    ended,
    replaced() {
      wasReplaced = true;
    },
    async end(signal) {
      if (!hasEnded) asked ??= { signal, at: Date.now() };
      send(signal);
      if (!(await within(signal === 'SIGKILL' ? killedWithinMs : withinMs))) {
        hadToBeKilled = true;
        send('SIGKILL');
        if (!(await within(killedWithinMs))) {
          throw new Error(`${name} (${pid}) has not ended, though it was killed.`);
        }
      }
      return await ended;
    },
  };
}
