import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '@inference-server/errors';
import { removeRecord, writeRecord } from './process-record.js';

export interface ProcessSpec {
  /** Unique in the data folder: names the record. */
  name: string;
  command: string;
  args: readonly string[];
  environment: NodeJS.ProcessEnv;
  /** The record is written to `<dataDir>/run/<name>.json`. */
  dataDir: string;
  /** Standard output and error are appended here. */
  logFile: string;
  cwd?: string;
  port?: number;
  /** Opens a channel whose end tells a node child that its supervisor is gone. */
  ipc?: boolean;
  /** What asks the process to end, and how long it may take before it is killed. */
  stopSignal?: NodeJS.Signals;
  stopGraceMs?: number;
}

/** How a process ended: by itself with a code, or by a signal. */
export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  readonly ended: Promise<ProcessEnd>;
  /** Asks it to end, kills it when the grace time is over, and waits. Doing it twice is fine. */
  stop(): Promise<ProcessEnd>;
}

/**
 * Starts a child in a session of its own (so that a Ctrl-C in the terminal reaches only the
 * supervisor, which ends its children in order) and writes its record.
 */
export async function startProcess(spec: ProcessSpec): Promise<RunningProcess> {
  const { name, command, args, dataDir, logFile } = spec;
  const stopSignal = spec.stopSignal ?? 'SIGTERM';
  const stopGraceMs = spec.stopGraceMs ?? 10_000;
  const child = spawnLogged(spec);
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const spawned = new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const { pid } = child;
  if (pid !== undefined) {
    const port = spec.port === undefined ? {} : { port: spec.port };
    writeRecord(dataDir, { name, pid, command, args, stopSignal, stopGraceMs, ...port });
  }
  try {
    await spawned;
  } catch (error) {
    throw new AppError('SERVICE_UNAVAILABLE', `${name} cannot be started: ${messageOf(error)}`, {
      cause: error,
    });
  }
  // A later failure to signal it is reported by kill's answer, not by an event that ends us.
  child.on('error', () => undefined);

  const forgotten = ended.then(async (end) => {
    await removeRecord(dataDir, name);
    return end;
  });
  return {
    name,
    pid: pid ?? 0,
    logFile,
    ended: forgotten,
    stop: async () => {
      if (hasEnded(child)) return forgotten;
      child.kill(stopSignal);
      const overdue = new AbortController();
      await Promise.race([ended, sleep(stopGraceMs, undefined, { signal: overdue.signal })]);
      overdue.abort();
      if (!hasEnded(child)) child.kill('SIGKILL');
      return forgotten;
    },
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function spawnLogged({ command, args, environment, cwd, logFile, ipc }: ProcessSpec): ChildProcess {
  mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a', 0o600);
  try {
    return spawn(command, args, {
      detached: true,
      env: environment,
      stdio: ['ignore', log, log, ...(ipc === true ? (['ipc'] as const) : [])],
      ...(cwd === undefined ? {} : { cwd }),
    });
  } finally {
    closeSync(log);
  }
}
