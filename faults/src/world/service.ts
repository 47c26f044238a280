import { readLogTail, type LocalService, type ProcessEnd } from '@inference-server/local-services';
import { supervise, type EndedProcess, type Supervised } from './ended-process.js';
import { signalFamily } from './process-family.js';

/** A service that others stand on (PostgreSQL, Redis, an engine, a registry), to be harmed. */
export interface Service {
  readonly name: string;
  /** Of the process that runs now; undefined: none does. */
  readonly pid: number | undefined;
  /** When it stood still or was none (Unix time, ms); what has no end yet ends at Infinity. */
  readonly away: readonly { from: number; until: number }[];
  /** Resolves once it serves. */
  start(): Promise<void>;
  /**
   * Sends the signal to its main process and waits for the end. One that does not end within 60 s is
   * killed, and the account tells.
   */
  end(signal: NodeJS.Signals): Promise<ProcessEnd | undefined>;
  /** Stops every process of it (SIGSTOP): it neither answers nor ends. Answers their ids. */
  freeze(): Promise<number[]>;
  thaw(): Promise<void>;
  close(): Promise<void>;
}

export interface ServiceSpec {
  name: string;
  logFile: string;
  onEnd(end: EndedProcess): void;
  launch(): Promise<LocalService>;
}

const endWithinMs = 60_000;
const linesTold = 10;

export function restartable({ name, logFile, onEnd, launch }: ServiceSpec): Service {
  let running: (Supervised & { stop(): Promise<void> }) | undefined;
  const away: { from: number; until: number }[] = [];
  const isAway = () => away.at(-1)?.until === Infinity;
  const leaves = () => {
    if (!isAway()) away.push({ from: Date.now(), until: Infinity });
  };
  const isBack = () => {
    const last = away.at(-1);
    if (last?.until === Infinity) last.until = Date.now();
  };
  const signalAll = async (signal: NodeJS.Signals) =>
    running === undefined ? [] : await signalFamily(running.pid, signal);
  return {
    name,
    away,
    get pid() {
      return running?.pid;
    },
    async start() {
      if (running !== undefined) throw new Error(`${name} runs already`);
      const service = await launch();
      const supervised = supervise({
        ...{ name, onEnd, isOurs: false, process: service, withinMs: endWithinMs },
        lastLines: async () => (await readLogTail(logFile, linesTold)).split('\n'),
      });
      // Not spread: whether it has ended is asked each time.
      running = Object.assign(supervised, { stop: service.stop });
      isBack();
      void service.ended.then(() => {
        running = undefined;
        leaves();
      });
    },
    async end(signal) {
      leaves();
      return await running?.end(signal);
    },
    freeze() {
      leaves();
      return signalAll('SIGSTOP');
    },
    async thaw() {
      await signalAll('SIGCONT');
      if (running !== undefined) isBack();
    },
    async close() {
      await signalAll('SIGCONT');
      await running?.stop();
    },
  };
}
