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
 * shows it only when the command fails, `silent` not even then. Throws CommandFailed. When `signal` aborts, the command gets
 * a SIGTERM, and after 20 s a SIGKILL; when `timeoutMs` are over, likewise. `asGroup`: the command and
 * all that it starts in its process group get a SIGINT instead, as from a terminal.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, quiet?: boolean, silent?: boolean, asGroup?: boolean, timeoutMs: number, signal: AbortSignal }} options
 */
export async function runCommand(
  command,
  args,
  { env, cwd, quiet = false, silent = false, asGroup = false, timeoutMs, signal },
) {
  signal.throwIfAborted();
  const output = quiet || silent ? 'pipe' : 'inherit';
  const child = spawn(command, args, {
    env,
    cwd,
    stdio: ['ignore', output, output],
    detached: asGroup,
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  }
  const send = (name) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(asGroup ? -child.pid : child.pid, name);
  };
  let killing;
  const stop = () => {
    send(asGroup ? 'SIGINT' : 'SIGTERM');
    killing ??= setTimeout(() => send('SIGKILL'), 20_000);
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
      if (quiet && !silent) process.stdout.write(text);
      throw new CommandFailed([command, ...args].join(' '), { ...end, output: text });
    }
  } finally {
    clearTimeout(overdue);
    clearTimeout(killing);
    signal.removeEventListener('abort', stop);
  }
}
