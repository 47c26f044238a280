import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '@inference-server/errors';
import type { ProcessEnd } from '@inference-server/local-services';

/** Something that was started and has to be stopped. */
export interface Part {
  name: string;
  /** Whether stopping it goes without a line. */
  quiet?: boolean;
  stop(): Promise<void>;
}

/** A process of ours that may end by itself. */
export interface LivingPart {
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  stop(): Promise<unknown>;
}

export interface Parts {
  add(part: Part): void;
  /** Starts a process without which the whole server cannot go on: its end ends everything. */
  startVital<Living extends LivingPart>(
    name: string,
    start: () => Promise<Living>,
  ): Promise<Living>;
  /** Starts a process that is started again, with back-off, when it ends by itself. */
  startKept<Living extends LivingPart>(name: string, start: () => Promise<Living>): Promise<Living>;
  /** Stops everything, the last first. False when something could not be stopped. */
  stopAll(): Promise<boolean>;
}

const backOffMs = { first: 1_000, most: 30_000 };
/** A process that ran for so long has earned a quick restart. */
const steadyMs = 60_000;

/** The parts of the running server. `signal` says that everything is about to stop. */
export function createParts(given: {
  print: (text: string) => void;
  signal: AbortSignal;
  onBroken: (why: AppError) => void;
}): Parts {
  const { print, signal, onBroken } = given;
  const parts: Part[] = [];

  /** Starts it again and again until the server stops; `living` is what runs now. */
  async function keep<Living extends LivingPart>(
    name: string,
    start: () => Promise<Living>,
    first: Living,
    replace: (living: Living) => void,
  ): Promise<void> {
    let living: Living | undefined = first;
    let waitMs = backOffMs.first;
    let startedAt = performance.now();
    for (;;) {
      if (living !== undefined) {
        const end = await living.ended;
        if (signal.aborted) return;
        if (performance.now() - startedAt > steadyMs) waitMs = backOffMs.first;
        print(`${name} has ended (${describeEnd(end)}); starting it again in ${waitMs / 1000} s`);
      }
      await sleep(waitMs, undefined, { signal });
      waitMs = Math.min(waitMs * 2, backOffMs.most);
      startedAt = performance.now();
      try {
        living = await start();
        replace(living);
        if (signal.aborted) {
          await living.stop();
          return;
        }
        print(`${name} runs again (process ${living.pid})`);
      } catch (error) {
        if (signal.aborted) return;
        living = undefined;
        print(`${name} could not be started again: ${messageOf(error)}`);
      }
    }
  }

  return {
    add: (part) => void parts.push(part),

    async startVital(name, start) {
      const living = await start();
      parts.push({ name, stop: async () => void (await living.stop()) });
      void living.ended.then((end) => {
        if (signal.aborted) return;
        onBroken(new AppError('SERVICE_UNAVAILABLE', `${name} has ended (${describeEnd(end)}).`));
      });
      return living;
    },

    async startKept(name, start) {
      const first = await start();
      let current = first;
      const kept = keep(name, start, first, (living) => (current = living)).catch(
        (error: unknown) => {
          if (!signal.aborted) onBroken(toBroken(name, error));
        },
      );
      parts.push({
        name,
        stop: async () => {
          await current.stop();
          // A start that was under way is called off by the signal.
          await kept;
        },
      });
      return first;
    },

    async stopAll() {
      let clean = true;
      for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
        if (part.quiet !== true) print(`  ${part.name}`);
        try {
          await part.stop();
        } catch (error) {
          clean = false;
          print(`  ${part.name} could not be stopped: ${messageOf(error)}`);
        }
      }
      return clean;
    },
  };
}

function toBroken(name: string, error: unknown): AppError {
  return new AppError('INTERNAL', `Watching ${name} failed: ${messageOf(error)}`, { cause: error });
}

function describeEnd({ code, signal }: ProcessEnd): string {
  return signal ?? `exit code ${code}`;
}
