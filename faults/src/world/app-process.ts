import { mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProcess, waitUntil, type ProcessEnd } from '@inference-server/local-services';
import { supervise, type EndedProcess, type Supervised } from './ended-process.js';
import { followLog, type LogLine, type LogTail } from './log-tail.js';
import { isStopped } from './process-family.js';

/** One of our apps as a process, to be ended, frozen, armed and started again. */
export interface AppProcess {
  readonly name: string;
  /** For what it has on the disk only while it works at it. */
  readonly workFolder: string;
  /** Of the process that runs now; undefined: none does. */
  readonly pid: number | undefined;
  /** Resolves once it serves. `extra` stands before its own settings, this time. */
  start(extra?: NodeJS.ProcessEnv): Promise<void>;
  /** Resolves once it serves, whoever has started it. */
  untilReady(): Promise<void>;
  /**
   * Sends the signal and waits for the end; an app that has ended stays as it is. One that does not end
   * within its grace and 5 s more is killed, and the account tells.
   */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<ProcessEnd | undefined>;
  freeze(): void;
  thaw(): void;
  /**
   * Hands over the process that runs now: none runs then, and another of the same name may be started
   * beside it, where the app takes no port. It writes to the same log. What is armed from now on is not
   * met by it, and what was armed before by it alone.
   */
  letGo(): LetGo;
  /** The next time that the process comes to this point it stops itself (SIGSTOP). */
  arm(point: string): Promise<void>;
  /** False: the process has come there already, or was not armed. */
  disarm(point: string): Promise<boolean>;
  /** The uid of the task with which it came to the point last, of those that were armed. */
  metAt(point: string): Promise<string>;
  /** Whether the process stands still (SIGSTOP). */
  isStopped(): Promise<boolean>;
  close(): Promise<void>;
}

/** A process that is nobody's any more but its holder's. */
export interface LetGo {
  readonly pid: number;
  freeze(): void;
  thaw(): void;
  /** Resolves with its end, whatever caused it. */
  readonly ended: Promise<ProcessEnd>;
  /** As {@link AppProcess.end}. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<ProcessEnd>;
}

export interface AppProcessSpec {
  /** Unique in the world: `private-api-1`. */
  name: string;
  /** A folder in apps/. */
  app: string;
  settings: Record<string, string>;
  workFolder: string;
  folder: string;
  environment: NodeJS.ProcessEnv;
  /** What a process says once it serves, where another of its name may be heard in its place. */
  saysReady?: string;
  /** `startedAt`: Unix time, ms. Another of its name may run beside it. */
  isReady(pid: number, startedAt: number): Promise<boolean>;
  onLine(name: string, line: LogLine): void;
  onEnd(end: EndedProcess): void;
  signal: AbortSignal;
}

/** As the world sets STOP_GRACE_S, in seconds. */
export const stopGraceS = 25;
const endWithinMs = (stopGraceS + 5) * 1000;
const linesTold = 10;
/** Of a line, in the account. */
const charactersTold = 500;

interface Running extends Supervised {
  /** The folder of its points. */
  points: string;
  startedAt: number;
}

export async function appProcess(spec: AppProcessSpec): Promise<AppProcess> {
  const { name, app, folder, environment, signal } = spec;
  const logFile = join(folder, `${name}.log`);
  const haveSaid = new Set<number>();
  const lastLines: { pid: number; text: string }[] = [];
  const tail: LogTail = followLog(logFile, (line) => {
    if (line.msg === spec.saysReady) haveSaid.add(line.pid);
    lastLines.push({ pid: line.pid, text: JSON.stringify(line).slice(0, charactersTold) });
    // Twice as many: another process may write to the log at the same time.
    if (lastLines.length > 2 * linesTold) lastLines.shift();
    spec.onLine(name, line);
  });
  let child: Running | undefined;
  const letGo = new Set<Running>();
  let starts = 0;

  const untilReady = async () => {
    // One that has ended meanwhile is never ready.
    const isDecided = async () => {
      if (child === undefined) return true;
      const { pid, startedAt } = child;
      return (spec.saysReady === undefined || haveSaid.has(pid)) && spec.isReady(pid, startedAt);
    };
    const inTime = await waitUntil(isDecided, { timeoutMs: 90_000, everyMs: 50, signal });
    if (!inTime || child === undefined) throw new Error(`${name} does not serve`);
  };
  const send = (to: Running | undefined, what: NodeJS.Signals) => {
    try {
      if (to?.hasEnded === false) process.kill(to.pid, what);
    } catch {
      // It has ended this moment.
    }
  };
  /** None runs: nobody comes to any point. */
  const place = (point: string) => join(child?.points ?? folder, point);
  return {
    name,
    workFolder: spec.workFolder,
    get pid() {
      return child?.pid;
    },
    async start(extra = {}) {
      if (child !== undefined) throw new Error(`${name} runs already`);
      starts += 1;
      const points = join(folder, `${name}-points`, String(starts));
      await mkdir(points, { recursive: true });
      for (const before of letGo) before.replaced();
      const startedAt = Date.now();
      const process_ = await startProcess({
        name,
        command: process.execPath,
        args: [fileURLToPath(new URL(`../../../apps/${app}/dist/main.js`, import.meta.url))],
        environment: { ...environment, ...extra, ...spec.settings, CRASH_AT: points },
        dataDir: folder,
        logFile,
      });
      const { pid } = process_;
      const supervised = supervise({
        ...{ name, isOurs: true, process: process_, withinMs: endWithinMs, onEnd: spec.onEnd },
        async lastLines() {
          await tail.catchUp();
          const own = lastLines.filter((line) => line.pid === pid || line.pid === 0);
          return own.slice(-linesTold).map(({ text }) => text);
        },
      });
      const started: Running = Object.assign(supervised, { points, startedAt });
      child = started;
      void process_.ended.then(() => {
        if (child === started) child = undefined;
        letGo.delete(started);
      });
      await untilReady();
    },
    untilReady,
    end: async (how) => await child?.end(how),
    freeze() {
      send(child, 'SIGSTOP');
    },
    thaw() {
      send(child, 'SIGCONT');
    },
    letGo() {
      const handed = child;
      if (handed === undefined) throw new Error(`${name} does not run`);
      letGo.add(handed);
      child = undefined;
      const { pid, ended } = handed;
      return {
        ...{ pid, ended },
        freeze: () => {
          send(handed, 'SIGSTOP');
        },
        thaw: () => {
          send(handed, 'SIGCONT');
        },
        end: (how) => handed.end(how),
      };
    },
    async arm(point) {
      // At once with what is in it: the process may come there in between.
      const draft = place(`${point}.part`);
      await writeFile(draft, 'SIGSTOP');
      await rename(draft, place(point));
    },
    disarm: (point) =>
      unlink(place(point)).then(
        () => true,
        () => false,
      ),
    metAt: (point) => readFile(place(`${point}.met`), 'utf8'),
    isStopped: async () => child !== undefined && (await isStopped(child.pid)),
    async close() {
      for (const one of letGo) await one.end('SIGKILL');
      if (child !== undefined) {
        send(child, 'SIGCONT');
        await child.end('SIGTERM');
      }
      await tail.close();
    },
  };
}
