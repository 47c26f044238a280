import { execFile } from 'node:child_process';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';
import { startDockerEngine } from '@inference-server/local-services';
import {
  createEngineApi,
  testFolder,
  whenFileEnds,
  type EngineApi,
} from '@inference-server/testing';

/** A docker engine of the test file's own that can be made to fail. */
export interface FailingEngine {
  dockerHost: string;
  api: EngineApi;
  /** Below it the engine keeps everything; a small disk. */
  dataDir: string;
  /** No container gets a device. */
  breakDevice(): Promise<void>;
  /** No container starts. */
  breakRuntime(): Promise<void>;
  /** The next start fails, and no other. */
  breakOneStart(): Promise<void>;
  /** Starts stand still until `release`. */
  hold(): Promise<void>;
  release(): Promise<void>;
  fillDisk(): Promise<void>;
  mend(): Promise<void>;
}

export async function startFailingEngine(): Promise<FailingEngine> {
  const switches = await testFolder();
  const on = (name: string) => writeFile(join(switches, name), '');
  const off = (name: string) => rm(join(switches, name), { force: true });
  const tools = await testFolder();
  const environment = inject('environment');
  const path = environment['PATH'] ?? '';
  for (const [name, text] of Object.entries(toolsOf(switches, path))) {
    await writeFile(join(tools, name), text, { mode: 0o755 });
  }
  const dataDir = join(await testFolder(), 'disk');
  await mkdir(dataDir);
  const options = ['-t', 'tmpfs', '-o', 'size=128m', 'tmpfs', dataDir];
  await promisify(execFile)('mount', options);
  const ballast = join(dataDir, 'ballast');
  const engine = await startDockerEngine({
    dataDir,
    logFile: join(switches, 'engine.log'),
    environment: { ...environment, PATH: `${tools}:${path}` },
    signal: AbortSignal.timeout(60_000),
  });
  whenFileEnds('own engine', () => engine.stop());
  return {
    dockerHost: engine.url,
    api: createEngineApi(engine.url),
    dataDir,
    breakDevice: () => on('device-broken'),
    breakRuntime: () => on('runtime-broken'),
    breakOneStart: () => on('one-start-broken'),
    hold: () => on('hold'),
    release: () => off('hold'),
    fillDisk: () => fill(ballast),
    async mend() {
      await rm(ballast, { force: true });
      await Promise.all(['device-broken', 'runtime-broken', 'one-start-broken', 'hold'].map(off));
    },
  };
}

/**
 * In place of the vendor's hook, which the engine calls for every container that is to have a device,
 * and of the program that makes containers.
 */
function toolsOf(switches: string, path: string): Record<string, string> {
  return {
    'nvidia-container-runtime-hook': `#!/bin/sh
[ -e ${switches}/device-broken ] && { echo "no such device" >&2; exit 1; }
cat > /dev/null
`,
    runc: `#!/bin/sh
case " $* " in *" create "*)
  while [ -e ${switches}/hold ]; do sleep 0.05; done
  rm ${switches}/one-start-broken 2>/dev/null && { echo "not this time" >&2; exit 1; }
  [ -e ${switches}/runtime-broken ] && { echo "the runtime is broken" >&2; exit 1; }
esac
PATH="${path}" exec runc "$@"
`,
  };
}

async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (const bytes of [1024 ** 2, 4096]) {
      const chunk = Buffer.alloc(bytes);
      for (;;) {
        const written = await file.write(chunk).catch(() => undefined);
        if (written === undefined || written.bytesWritten < bytes) break;
      }
    }
  } finally {
    await file.close();
  }
}
