import { spawn } from 'node:child_process';

/** A command that did not end with 0; `output` is what it wrote, when it was kept. */
export class CommandFailed extends Error {
  constructor(what, { code, signal, output }) {
    super(`${what} failed (${signal ?? `exit code ${code}`})`);
    this.output = output;
  }
}

/**
 * Runs a command to its end with nothing on its standard input. `quiet` keeps what it writes and
 * shows it only when the command fails. Throws CommandFailed. When `signal` aborts, the command gets
 * a SIGTERM, and after 20 s a SIGKILL; when `timeoutMs` are over, likewise.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, quiet?: boolean, timeoutMs: number, signal: AbortSignal }} options
 */
export async function runCommand(command, args, { env, cwd, quiet = false, timeoutMs, signal }) {
  signal.throwIfAborted();
  const output = quiet ? 'pipe' : 'inherit';
  const child = spawn(command, args, { env, cwd, stdio: ['ignore', output, output] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  }
  let killing;
  const stop = () => {
    child.kill('SIGTERM');
    killing ??= setTimeout(() => child.kill('SIGKILL'), 20_000);
  };
  const overdue = setTimeout(stop, timeoutMs);
  signal.addEventListener('abort', stop);
  try {
    const end = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, by) => resolve({ code, signal: by }));
    });
    signal.throwIfAborted();
    if (end.code !== 0) {
      if (quiet) process.stdout.write(text);
      throw new CommandFailed([command, ...args].join(' '), { ...end, output: text });
    }
  } finally {
    clearTimeout(overdue);
    clearTimeout(killing);
    signal.removeEventListener('abort', stop);
  }
}
