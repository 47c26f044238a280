import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import { freePort, waitUntil, whenFileEnds } from '@inference-server/testing';

export interface Server {
  pid: number;
  publicApi: string;
  privateApi: string;
  /** What it has written to the terminal so far. */
  output(): string;
  /** Waits for a text in the output; throws, with the output, when the process ends before. */
  untilSays(text: string): Promise<void>;
  /** Signals the process, or with `group` all of its process group, as a terminal does. */
  signal(name: NodeJS.Signals, target?: 'group'): void;
  /** The exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null>;
}

/** Starts the standalone server as a user does: by npm, or its main file directly. */
export async function startServer(
  settings: Record<string, string> & { DATA_DIR: string },
  { by = 'node', args = ['--no-demo'] }: { by?: 'node' | 'npm'; args?: string[] } = {},
): Promise<Server> {
  const repository = inject('repository');
  const ports = {
    PUBLIC_API_PORT: settings['PUBLIC_API_PORT'] ?? String(await freePort()),
    PRIVATE_API_PORT: settings['PRIVATE_API_PORT'] ?? String(await freePort()),
    GRPC_PORT: settings['GRPC_PORT'] ?? String(await freePort()),
    ZERORPC_PORT: settings['ZERORPC_PORT'] ?? String(await freePort()),
  };
  const { PATH, HOME } = inject('environment');
  const main = join(repository, 'apps/standalone/dist/main.js');
  const [command, words] =
    by === 'npm' ? ['npm', ['start', '--', ...args]] : [process.execPath, [main, ...args]];
  const child = spawn(command, words, {
    cwd: repository,
    detached: true,
    env: { PATH, HOME, ...ports, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid ?? 0;
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  }
  let running = true;
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('close', (code, signal) => {
      running = false;
      resolve(code ?? signal);
    });
  });
  whenFileEnds('server', async () => {
    if (running) process.kill(pid, 'SIGTERM');
    await ended;
  });
  return {
    pid,
    publicApi: `http://127.0.0.1:${ports.PUBLIC_API_PORT}`,
    privateApi: `http://127.0.0.1:${ports.PRIVATE_API_PORT}`,
    output: () => output,
    async untilSays(text) {
      const said = () => output.includes(text) || !running;
      const inTime = await waitUntil(said, { timeoutMs: 120_000 });
      if (!inTime || !output.includes(text)) throw new Error(`"${text}" was not said:\n${output}`);
    },
    signal: (name, target) => process.kill(target === 'group' ? -pid : pid, name),
    ended,
  };
}

/** The processes that the records of a data folder name, by name. */
export function recordedPids(dataDir: string): Record<string, number> {
  const folder = join(dataDir, 'run');
  if (!existsSync(folder)) return {};
  const records = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Recorded);
  return Object.fromEntries(records.map(({ name, pid }) => [name, pid]));
}

interface Recorded {
  name: string;
  pid: number;
}

/** Whether nothing of the server runs any more. */
export function allGone(pids: Record<string, number>): boolean {
  return Object.values(pids).every((pid) => !existsSync(`/proc/${pid}`));
}
