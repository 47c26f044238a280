import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { inject, onTestFinished } from 'vitest';

export interface Told {
  /** `beat`, `result`, or the name of an exception. */
  what: string;
  value: unknown;
  /** After the call. */
  seconds: number;
}

export interface Client {
  /** Stops the process, as if its machine slept. */
  pause(): void;
  resume(): void;
  kill(): void;
  /** All that it was told, when it has ended. */
  told(): Promise<Told[]>;
}

/** A client as users have it (client.py), which makes one call. */
export function startClient(
  port: number,
  options: object,
  method: string,
  ...args: unknown[]
): Client {
  const script = join(inject('repository'), 'packages/zerorpc/test/client.py');
  const values = args.map((value) => JSON.stringify(value));
  const python = spawn(
    '/usr/bin/python3',
    [script, `tcp://127.0.0.1:${port}`, JSON.stringify(options), method, ...values],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { PYTHONDONTWRITEBYTECODE: '1' } },
  );
  let text = '';
  python.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
  const closed = once(python, 'close');
  onTestFinished(async () => {
    python.kill('SIGKILL');
    await closed;
  });
  return {
    pause: () => void python.kill('SIGSTOP'),
    resume: () => void python.kill('SIGCONT'),
    kill: () => void python.kill('SIGKILL'),
    async told() {
      await closed;
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => {
          const [what, value, seconds] = JSON.parse(line) as [string, unknown, number];
          return { what, value, seconds };
        });
    },
  };
}

export function runClient(
  port: number,
  options: object,
  method: string,
  ...args: unknown[]
): Promise<Told[]> {
  return startClient(port, options, method, ...args).told();
}
