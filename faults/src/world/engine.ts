import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startDockerEngine } from '@inference-server/local-services';
import type { EndedProcess } from './ended-process.js';
import { restartable, type Service } from './service.js';

export interface Engine extends Service {
  /** Also while a link to it is harmed. */
  readonly socketPath: string;
  /** Below it the engine has all its files: a small file system of its own. */
  readonly folder: string;
  /** As the next start has it. */
  liveRestore: boolean;
  /** The names of its consumers. */
  readonly serves: readonly string[];
}

export interface EngineSpec {
  name: string;
  folder: string;
  logFile: string;
  serves: readonly string[];
  environment: NodeJS.ProcessEnv;
  onEnd(end: EndedProcess): void;
  signal: AbortSignal;
}

/** Not started yet. */
export function engineOn(spec: EngineSpec): Engine {
  const { name, folder, logFile, serves, environment, onEnd, signal } = spec;
  const launch = () =>
    startDockerEngine({
      dataDir: folder,
      logFile,
      environment,
      signal,
      liveRestore: engine.liveRestore,
    });
  const engine: Engine = Object.assign(restartable({ name, logFile, onEnd, launch }), {
    socketPath: join(folder, 'docker', 'docker.sock'),
    folder,
    serves,
    liveRestore: true,
  });
  return engine;
}

/** Makes an engine offer its nvidia driver: it looks for the vendor's hook on its PATH. */
export async function deviceHook(folder: string, brokenDevice: string): Promise<string> {
  const hooks = join(folder, 'hooks');
  const hook = join(hooks, 'nvidia-container-runtime-hook');
  await mkdir(hooks);
  const script = `#!/bin/sh
[ -e '${brokenDevice}' ] && { printf x >> '${brokenDevice}'; echo 'no such device' >&2; exit 1; }
cat > /dev/null
`;
  await writeFile(hook, script);
  await chmod(hook, 0o755);
  return hooks;
}
