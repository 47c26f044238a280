import { join } from 'node:path';
import { inject } from 'vitest';
import {
  readLogTail,
  startProcess,
  waitUntil,
  type ProcessEnd,
} from '@inference-server/local-services';
import { whenFileEnds } from './clean-up.js';
import { testFolder } from './folder.js';

export interface AppSpec {
  /** A folder in apps/: its dist/main.js is run, as a deployment runs it. */
  app: string;
  /** The settings of the app. Nothing of the test's own environment but PATH comes along. */
  settings: Record<string, string>;
  /** Ready when this answers 200 (`…/readyz`), or when the function says so. */
  ready: string | (() => boolean | Promise<boolean>);
  /** Default: 30 s. */
  readyTimeoutMs?: number;
  args?: readonly string[];
}

export interface TestApp {
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  log(): Promise<string>;
  /** SIGTERM; throws, with the log, unless it ends with exit code 0. Doing it twice is fine. */
  stop(): Promise<void>;
  /** SIGKILL, for tests of crashes; after that, or once it has ended, any exit code is fine. */
  kill(): Promise<void>;
}

/** Runs one of our apps as a process, and stops it when the file ends at the latest. */
export async function startApp(spec: AppSpec): Promise<TestApp> {
  const { app, settings, ready, readyTimeoutMs = 30_000, args = [] } = spec;
  const folder = await testFolder();
  const logFile = join(folder, `${app}.log`);
  const child = await startProcess({
    name: app,
    command: process.execPath,
    args: [join(inject('repository'), 'apps', app, 'dist', 'main.js'), ...args],
    environment: { PATH: inject('environment')['PATH'], ...settings },
    dataDir: folder,
    logFile,
    stopGraceMs: 40_000,
  });
  let end: ProcessEnd | undefined;
  let killed = false;
  void child.ended.then((how) => (end = how));
  const log = () => readLogTail(logFile, 200);
  const stop = async () => {
    const { code } = await child.stop();
    if (code === 0 || killed) return;
    throw new Error(`${app} ended with exit code ${String(code)}:\n${await log()}`);
  };
  whenFileEnds(app, stop);
  const isReady = async () => end !== undefined || (await asks(ready));
  const inTime = await waitUntil(isReady, { timeoutMs: readyTimeoutMs });
  if (!inTime || end !== undefined) {
    killed = true;
    await child.stop();
    throw new Error(`${app} did not become ready:\n${await log()}`);
  }
  return {
    pid: child.pid,
    ended: child.ended,
    log,
    stop,
    kill: async () => {
      killed = true;
      if (end === undefined) process.kill(child.pid, 'SIGKILL');
      await child.ended;
    },
  };
}

async function asks(ready: AppSpec['ready']): Promise<boolean> {
  if (typeof ready === 'function') return await ready();
  try {
    const response = await fetch(ready, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}
