import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inject, onTestFinished } from 'vitest';

/** An id as a client in Python has it: a string, or bytes by their hexadecimal digits. */
export type Id = string | { $bin: string };

/** A message of the server, as the client read it. */
export interface Came {
  client: number;
  id: Id;
  to: Id;
  name: string;
  args: unknown;
}

/** Clients in one process of Python. */
export interface Peers {
  command(command: Record<string, unknown>): void;
  /** Opens a channel. Its id is the message's. */
  call(name: unknown, args: unknown, options?: CallOptions): Id;
  /** A later message of the channel. */
  event(channel: Id, name: unknown, args: unknown, client?: number): void;
  /** The next message of a channel that is no heartbeat. */
  next(channel: Id, client?: number): Promise<Came>;
  /** Messages of a channel so far, heartbeats too, which have not been taken by `next`. */
  came: readonly Came[];
  /** The process: what it is killed by takes all its clients with it. */
  kill(): Promise<void>;
}

interface CallOptions {
  client?: number;
  id?: Id;
  header?: Record<string, unknown>;
}

export async function startPeers(port: number, flag = ''): Promise<Peers> {
  const script = join(inject('repository'), 'packages/zerorpc/test/peer.py');
  const python = spawn('/usr/bin/python3', [script, `tcp://127.0.0.1:${port}`, flag], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PYTHONDONTWRITEBYTECODE: '1' },
  });
  const ended = once(python, 'exit');
  python.stdin.on('error', () => undefined);
  const came: Came[] = [];
  const wakers = new Set<() => void>();
  createInterface({ input: python.stdout }).on('line', (line) => {
    came.push(JSON.parse(line) as Came);
    for (const wake of wakers) wake();
    wakers.clear();
  });
  onTestFinished(async () => {
    python.stdin.end();
    await ended;
  });

  async function take(wanted: (one: Came) => boolean): Promise<Came> {
    for (;;) {
      const at = came.findIndex(wanted);
      const [found] = at < 0 ? [] : came.splice(at, 1);
      if (found !== undefined) return found;
      if (python.exitCode !== null) throw new Error('The peer has ended.');
      await Promise.race([new Promise<void>((resolve) => wakers.add(resolve)), ended]);
    }
  }

  const command = (one: Record<string, unknown>) =>
    void python.stdin.write(`${JSON.stringify(one)}\n`);
  let count = 0;
  await take(({ name }) => name === 'ready');
  return {
    came,
    command,
    call(name, args, { client = 0, id = `call${++count}`, header = {} } = {}) {
      command({ do: 'send', client, header: { message_id: id, v: 3, ...header }, name, args });
      return id;
    },
    event(channel, name, args, client = 0) {
      const header = { message_id: `event${++count}`, v: 3, response_to: channel };
      command({ do: 'send', client, header, name, args });
    },
    next: (channel, client = 0) =>
      take(
        (one) =>
          one.client === client &&
          one.name !== '_zpc_hb' &&
          JSON.stringify(one.to) === JSON.stringify(channel),
      ),
    async kill() {
      python.kill('SIGKILL');
      await ended;
    },
  };
}
