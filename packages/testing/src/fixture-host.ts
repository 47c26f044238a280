import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The shared services of a test run, each with what a test file has to know of it. */
export interface SharedServices {
  /** `template`: a database with all migrations applied, to be cloned. */
  postgres: { url: string; template: string; prefix: string };
  redis: { url: string };
  engine: { dockerHost: string; image: string };
}

type Starters = { [Name in keyof SharedServices]: () => Promise<SharedServices[Name]> };

/**
 * Lives in vitest's main process and starts each service when a test file first asks for it: a run
 * of one unit test starts nothing. Answers on a socket, because test files are other processes.
 */
export async function openFixtureHost(
  folder: string,
  starters: Starters,
): Promise<{ socketPath: string; close: () => Promise<void> }> {
  const started = new Map<keyof SharedServices, Promise<unknown>>();
  const socketPath = join(folder, 'host.sock');
  const server = createServer((call, reply) => {
    const [path = '', condition] = (call.url ?? '').split('?');
    const name = path.slice(1) as keyof SharedServices;
    if (condition === ifStarted && !started.has(name)) {
      reply.end(JSON.stringify({ value: null }));
      return;
    }
    const service = started.get(name) ?? starters[name]();
    started.set(name, service);
    service.then(
      (value) => reply.end(JSON.stringify({ value })),
      (error: unknown) => reply.end(JSON.stringify({ failure: String(error) })),
    );
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    socketPath,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await Promise.allSettled(started.values());
    },
  };
}

/** Asks the host at `socketPath` for a service; throws when it could not be started. */
export function askFixtureHost<Name extends keyof SharedServices>(
  socketPath: string,
  name: Name,
): Promise<SharedServices[Name]> {
  return ask(socketPath, name);
}

/** The service if somebody has asked for it before; null: it was not started for this question. */
export function askWhetherStarted<Name extends keyof SharedServices>(
  socketPath: string,
  name: Name,
): Promise<SharedServices[Name] | null> {
  return ask(socketPath, `${name}?${ifStarted}`);
}

const ifStarted = 'if-started';

async function ask<Answer>(socketPath: string, name: string): Promise<Answer> {
  const call = request({ socketPath, path: `/${name}`, agent: false });
  call.end();
  const answered = once(call, 'response') as Promise<[AsyncIterable<Buffer>]>;
  const overdue = new AbortController();
  const late = sleep(180_000, undefined, { signal: overdue.signal }).then(() => {
    call.destroy();
    throw new Error(`${name} was not started in time`);
  });
  try {
    const [response] = await Promise.race([answered, late]);
    let text = '';
    for await (const chunk of response) text += chunk.toString('utf8');
    const { value, failure } = JSON.parse(text) as {
      value?: Answer;
      failure?: string;
    };
    if (value === undefined) throw new Error(failure);
    return value;
  } finally {
    overdue.abort();
    late.catch(() => undefined);
  }
}
