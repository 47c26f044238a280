import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  startProcess,
  untilServing,
  type ProcessSpec,
  type RunningProcess,
} from '@inference-server/local-services';

/** Where a benchmark runs: a folder of its own, and whatever it starts, until it ends. */
export interface Scene {
  folder: string;
  /** What processes are started with, beside their own settings. */
  environment: NodeJS.ProcessEnv;
  /** The caller's whole environment: addresses of services that may be used stand in it. */
  given: NodeJS.ProcessEnv;
  signal: AbortSignal;
  /** Arguments of node for those of our processes that are measured. */
  nodeArgs: readonly string[];
  print: (text: string) => void;
  /** Has `end` called when the scene ends, before what was handed in earlier. */
  onEnd(end: () => Promise<unknown>): void;
  /** Starts a process that serves once `check` says so, and ends with the scene. */
  start(spec: SceneProcess, check: () => Promise<boolean>): Promise<RunningProcess>;
}

export type SceneProcess = Pick<ProcessSpec, 'name' | 'args'> & {
  settings: Record<string, string>;
};

/** Runs `work` and then ends what it started, whether it failed or not; removes the folder. */
export async function inScene<T>(
  options: {
    name: string;
    environment: NodeJS.ProcessEnv;
    signal: AbortSignal;
    profileFolder: string | undefined;
    print: (text: string) => void;
  },
  work: (scene: Scene) => Promise<T>,
): Promise<T> {
  const { signal, profileFolder, print } = options;
  const folder = await mkdtemp(join(tmpdir(), `inference-server-${options.name}-`));
  const environment = { PATH: options.environment['PATH'] };
  const ends: (() => Promise<unknown>)[] = [];
  const scene: Scene = {
    folder,
    environment,
    given: options.environment,
    signal,
    nodeArgs: profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`],
    print,
    onEnd: (end) => void ends.push(end),
    async start({ name, args, settings }, check) {
      signal.throwIfAborted();
      const child = await startProcess({
        name,
        command: process.execPath,
        args,
        environment: { ...environment, ...settings },
        dataDir: folder,
        logFile: join(folder, `${name}.log`),
        ipc: true,
        stopGraceMs: 40_000,
      });
      ends.push(child.stop);
      await untilServing(child, check, { timeoutMs: 60_000, signal });
      return child;
    },
  };
  let failures: unknown[];
  let result: T;
  try {
    result = await work(scene);
  } finally {
    failures = await endAll(ends);
    await rm(folder, { recursive: true, force: true });
    for (const failure of failures) print(`Could not be ended: ${String(failure)}`);
  }
  if (failures.length > 0) throw new AggregateError(failures, 'Something is left over.');
  return result;
}

/** The last first; returns what went wrong. */
async function endAll(ends: (() => Promise<unknown>)[]): Promise<unknown[]> {
  const failures: unknown[] = [];
  for (const end of ends.reverse()) {
    await end().catch((error: unknown) => failures.push(error));
  }
  return failures;
}
